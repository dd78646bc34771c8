package record

import (
	"strings"
	"testing"

	"github.com/dmcopy/dmcopy/internal/dispatch/byterange"
)

// TestHowMoved: it is only said of an end that it was moved where it is known to have been.
func TestHowMoved(t *testing.T) {
	some := []byterange.Range{{Len: 512}}
	for want, rechecks := range map[string][]Recheck{
		"the source was moved":          {{Moved: some}, {Moved: some, ofSource: true}},
		"the destination was moved":     {{marked: some}, {Moved: some}},
		"the source or the destination": {{marked: some}, {marked: some}},
	} {
		if got := howMoved(rechecks); !strings.HasPrefix(got, want) {
			t.Errorf("%s, want %s", got, want)
		}
	}
}
