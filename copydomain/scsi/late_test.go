package scsi

import (
	"errors"
	"os"
	"testing"

	"github.com/dmcopy/dmcopy/copydomain/blocks"
	"github.com/dmcopy/dmcopy/internal/boottime"
)

// TestNotAfter: each command is looked at, those that are sent again as well, and what is
// too late for its command was not begun.
func TestNotAfter(t *testing.T) {
	for name, tt := range map[string]struct {
		fault     Completion // of the second command
		begun     int
		untouched bool
	}{
		"at once":               {Completion{}, 0, true},
		"after the second":      {Completion{}, 2, true},
		"when it is sent again": {Completion{Status: Busy}, 2, true},
	} {
		r := newRig(t, behave(Limits{Segments: 2, SegmentBlocks: 8, Granularity: 1}), true, blocks.Options{InFlight: 1})
		r.loop.SetFault(func(n int, _ *Command) Fault {
			if n == 1 {
				return Fault{Completion: tt.fault}
			}
			return Fault{}
		})
		input, asked := []blocks.Piece{piece(0, 100, 64)}, 0
		res, err := r.CopyGuarded(t.Context(), input, func() boottime.Instant {
			if asked++; asked > tt.begun {
				return 0
			}
			return boottime.Forever - 1
		}, unguarded)
		if err != nil {
			t.Fatal(err)
		}
		if err := r.account(input, res); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if asked != tt.begun+1 || res.Commands != tt.begun || len(res.Redo) == 0 || len(res.Fenced) > 0 {
			t.Errorf("%s: asked %d times, %+v", name, asked, res)
		}
		for _, f := range res.Redo {
			if f.Action != blocks.ActionExpired || f.Untouched != tt.untouched || !errors.Is(f.Err, boottime.ErrPassed) || !errors.Is(f.Err, blocks.ErrNotIssued) {
				t.Errorf("%s: %+v", name, f)
			}
		}
	}
}

// TestFileIsTooLate: the system call is not made.
func TestFileIsTooLate(t *testing.T) {
	f, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	c := wire(t, List{LID1, 0, []Unit{{nameA, 512}}, []Segment{{0, 0, piece(1, 2, 3)}}})
	c.NotAfter = boottime.Now
	if _, err := (&File{f: f, writable: true}).Do(t.Context(), c); !errors.Is(err, boottime.ErrPassed) || !errors.Is(err, blocks.ErrNotIssued) {
		t.Error(err)
	}
}
