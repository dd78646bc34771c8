package nvme

import (
	"errors"
	"os"
	"testing"

	"github.com/dmcopy/dmcopy/copydomain/blocks"
	"github.com/dmcopy/dmcopy/internal/boottime"
)

// afterAsking is a moment that has come when it has been asked for n times.
func afterAsking(n int) (notAfter boottime.Limit, asked *int) {
	asked = new(int)
	return func() boottime.Instant {
		if *asked++; *asked > n {
			return 0
		}
		return boottime.Forever - 1
	}, asked
}

// TestNotAfter: each command is looked at, those that are sent again as well, and what is
// too late for its command was not begun.
func TestNotAfter(t *testing.T) {
	any := func(*CopyCommand) error { return nil }
	for name, tt := range map[string]struct {
		fault     Fault // of the second command
		begun     int
		untouched bool
	}{
		"at once":                 {Fault{}, 0, true},
		"after the second":        {Fault{}, 2, true},
		"when it is sent again":   {pathFaults["lost"], 2, false},
		"when it never left":      {pathFaults["no path"], 2, true},
		"when a smaller one does": {Fault{Status: StatusCommandSizeLimit}, 2, false},
	} {
		r := newRig(t, Limits{8, 16, 2}, blocks.Options{InFlight: 1})
		r.loop.SetFault(func(n int, _ *Command) Fault {
			if n == 1 {
				return tt.fault
			}
			return Fault{}
		})
		input := []blocks.Piece{piece(0, 300, 64)}
		notAfter, asked := afterAsking(tt.begun)
		res, err := r.CopyGuarded(t.Context(), input, notAfter, any)
		if err != nil {
			t.Fatal(err)
		}
		if err := r.account(input, res); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if *asked != tt.begun+1 || res.Commands != tt.begun || len(res.Redo) == 0 || len(res.Fenced) > 0 {
			t.Errorf("%s: asked %d times, %+v", name, *asked, res)
		}
		for _, f := range res.Redo {
			if f.Action != blocks.ActionExpired || f.Reason != blocks.ReasonExpired || f.Untouched != tt.untouched || !errors.Is(f.Err, boottime.ErrPassed) || !errors.Is(f.Err, blocks.ErrNotIssued) {
				t.Errorf("%s: %+v", name, f)
			}
		}
	}
}

// TestFileIsTooLate: the system call is not made, whichever it would be.
func TestFileIsTooLate(t *testing.T) {
	f, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	file := &File{f: f, nsid: 1, writable: true}
	var wire Command
	c := CopyCommand{DstLBA: 9, Ranges: []Range{{1, 1}}}
	if err := c.Encode(&wire, 1, make([]byte, RangeSize)); err != nil {
		t.Fatal(err)
	}
	wire.NotAfter = boottime.Now
	for _, only32 := range []bool{false, true} {
		file.only32.Store(only32)
		if _, err := file.IO(t.Context(), &wire); !errors.Is(err, boottime.ErrPassed) || !errors.Is(err, blocks.ErrNotIssued) {
			t.Error(err)
		}
		if file.only32.Load() != only32 {
			t.Error("the kernel was asked")
		}
	}
}
