package hold

import (
	"errors"
	"strings"
	"testing"

	"github.com/dmcopy/dmcopy/remap"
)

// TestUnavailableOnce: that there is no anchor is said once, and on one line.
func TestUnavailableOnce(t *testing.T) {
	_, err := NewAnchor("/dev/none", remap.Dev{Major: 253}, nil)
	if !errors.Is(err, ErrUnavailable) || strings.Count(err.Error(), ErrUnavailable.Error()) != 1 || strings.Contains(err.Error(), "\n") {
		t.Errorf("%v", err)
	}
}
