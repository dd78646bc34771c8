package inuse

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/dmcopy/dmcopy/internal/sysfs"
)

func TestParseSwaps(t *testing.T) {
	const text = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n" +
		"/dev/nvme0n1p3                          partition\t999420\t\t0\t\t-2\n" +
		"/my\\040swap                             file\t\t999420\t\t0\t\t-3\n"
	got, err := parseSwaps(strings.NewReader(text))
	if err != nil || !reflect.DeepEqual(got, []swapArea{{path: "/dev/nvme0n1p3"}, {path: "/my swap"}}) {
		t.Errorf("%+v, %v", got, err)
	}
	for _, text := range []string{"/dev/x partition 1 2 3\n", "Filename Type Size Used Priority\n/dev/x\n"} {
		if _, err := parseSwaps(strings.NewReader(text)); !errors.Is(err, sysfs.ErrValue) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func FuzzSwaps(f *testing.F) {
	f.Add("Filename Type Size Used Priority\n/my\\040swap file 1 0 -3\n")
	f.Fuzz(func(t *testing.T, text string) {
		if _, err := parseSwaps(strings.NewReader(text)); err != nil && !errors.Is(err, sysfs.ErrValue) && len(text) < 1<<15 {
			t.Errorf("%q: %v", text, err)
		}
	})
}
