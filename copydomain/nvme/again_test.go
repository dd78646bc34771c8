package nvme

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/copydomain/blocks"
)

// pathFaults are the ways in which a path fails that is known to be through with
// the command.
var pathFaults = map[string]Fault{
	"inaccessible": {Status: 0x302, At: 1, Junk: true},
	"transition":   {Status: 0x303 | StatusDNR},
	"lost":         {Status: 0x301},
	"pathing":      {Status: 0x360},
	"queue":        {Status: 0x008, At: 1},
	"no path":      {Lost: fmt.Errorf("%w: %w", blocks.ErrNotIssued, unix.EAGAIN)},
}

// A path that fails costs a pause; a few in a row end the batch, and it is said of
// which bytes nothing is known.
func TestPathFails(t *testing.T) {
	for name, fault := range pathFaults {
		for _, tc := range []struct {
			what  string
			hits  func(n int) bool
			again int
			pause time.Duration
		}{
			{"once", func(n int) bool { return n == 1 }, 1, pathPause},
			{"as often as is borne", func(n int) bool { return n >= 1 && n < 1+maxPathTries }, maxPathTries, 15 * pathPause},
			{"now and then", func(n int) bool { return n%2 == 1 }, 3, 3 * pathPause},
		} {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, Limits{8, 16, 2}, blocks.Options{InFlight: 1})
				r.loop.SetFault(func(n int, _ *Command) Fault {
					if tc.hits(n) {
						return fault
					}
					return Fault{}
				})
				input, began := []blocks.Piece{piece(0, 300, 64)}, time.Now()
				res, err := r.Copy(t.Context(), input)
				if err != nil {
					t.Fatal(err)
				}
				if err := r.account(input, res); err != nil {
					t.Errorf("%s, %s: %v", name, tc.what, err)
				}
				if len(res.Redo)+len(res.Fenced) != 0 || res.Again != tc.again || time.Since(began) != tc.pause {
					t.Errorf("%s, %s: %+v after %v", name, tc.what, res, time.Since(began))
				}
			})
		}
	}
}

func TestPathStaysAway(t *testing.T) {
	for name, fault := range pathFaults {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, Limits{8, 16, 2}, blocks.Options{InFlight: 1})
			r.loop.SetFault(func(n int, _ *Command) Fault {
				if n == 0 {
					return Fault{}
				}
				return fault
			})
			input := []blocks.Piece{piece(0, 300, 64)}
			res, err := r.Copy(t.Context(), input)
			if err != nil {
				t.Fatal(err)
			}
			if err := r.account(input, res); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if res.Commands != 2+maxPathTries || len(res.Redo) == 0 || res.Redo[0].DstLBA != 316 || res.Redo[0].Action != blocks.ActionRetryPath {
				t.Errorf("%s: %+v", name, res)
			}
			if untouched := fault.Lost != nil; res.Redo[0].Untouched != untouched {
				t.Errorf("%s: %+v", name, res)
			}
		})
	}
}

func TestPathFailsInCanceledCopy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Limits{8, 16, 2}, blocks.Options{})
		ctx, cancel := context.WithTimeout(t.Context(), pathPause/2)
		defer cancel()
		r.loop.SetFault(func(int, *Command) Fault { return Fault{Status: 0x303} })
		input := []blocks.Piece{piece(0, 300, 64)}
		res, err := r.Copy(ctx, input)
		if err != nil {
			t.Fatal(err)
		}
		if err := r.account(input, res); err != nil {
			t.Error(err)
		}
		if len(res.Redo) == 0 || res.Redo[0].Action != blocks.ActionCanceled || !errors.Is(res.Redo[0].Err, context.DeadlineExceeded) || res.Redo[0].Untouched {
			t.Errorf("%+v", res)
		}
	})
}
