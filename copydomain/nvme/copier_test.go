package nvme

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/dmcopy/dmcopy/copydomain/blocks"
)

// half of the blocks of the test namespaces are sources, half destinations.
const testHalf = 200

func piece(src, dst, n uint64) blocks.Piece {
	return blocks.Piece{SrcLBA: src, DstLBA: dst, Blocks: n}
}

// rig is a copier on a stamped namespace.
type rig struct {
	*Copier
	loop        *Loopback
	mem, before []byte
}

func newRig(t testing.TB, l Limits, opts blocks.Options) *rig {
	t.Helper()
	r := &rig{mem: stamped(2 * testHalf)}
	r.before = bytes.Clone(r.mem)
	r.loop = NewMemoryLoopback(r.mem, testBlock, l)
	d, err := Probe(context.Background(), r.loop, 1)
	if err != nil {
		t.Fatal(err)
	}
	if r.Copier, err = NewCopier(d, opts); err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *rig) copied(p blocks.Piece) bool {
	return bytes.Equal(r.mem[p.DstLBA*testBlock:(p.DstLBA+p.Blocks)*testBlock], r.before[p.SrcLBA*testBlock:(p.SrcLBA+p.Blocks)*testBlock])
}

func (r *rig) untouched(p blocks.Piece) bool {
	dst := p.Destination()
	return bytes.Equal(r.mem[dst.Start*testBlock:dst.End*testBlock], r.before[dst.Start*testBlock:dst.End*testBlock])
}

// account checks that a result holds every block of the input exactly once, and
// that what it says of each is true of the bytes. It is called when nothing runs
// any more.
func (r *rig) account(input []blocks.Piece, res *blocks.Result) (err error) {
	all := append([]blocks.Piece(nil), res.Done...)
	for _, p := range res.Done {
		if !r.copied(p) {
			return fmt.Errorf("done %v is not copied", p)
		}
	}
	for _, f := range res.Redo {
		all = append(all, f.Piece)
		if f.Untouched && !r.untouched(f.Piece) {
			return fmt.Errorf("untouched %v was written", f.Piece)
		}
		if f.Action == blocks.ActionDone || f.Action == blocks.ActionFence || f.Action == blocks.ActionShrink || f.Reason == "" || f.Err == nil {
			return fmt.Errorf("redo %+v", f)
		}
	}
	for _, f := range res.Fenced {
		all = append(all, f.Pieces...)
		if f.Reason == "" || f.Err == nil || len(f.Pieces) == 0 {
			return fmt.Errorf("fence %+v", f)
		}
	}
	want, got := make(map[uint64]uint64), make(map[uint64]uint64)
	for m, pieces := range map[*map[uint64]uint64][]blocks.Piece{&want: input, &got: all} {
		for _, p := range pieces {
			for i := range p.Blocks {
				if _, twice := (*m)[p.DstLBA+i]; twice {
					return fmt.Errorf("block %d twice in %v", p.DstLBA+i, pieces)
				}
				(*m)[p.DstLBA+i] = p.SrcLBA + i
			}
		}
	}
	if !equalBlocks(want, got) {
		return fmt.Errorf("%v became %+v", input, res)
	}
	for lba := range uint64(2 * testHalf) {
		if _, mine := want[lba]; !mine && !bytes.Equal(block(r.mem, lba), block(r.before, lba)) {
			return fmt.Errorf("block %d is nobody's and was written", lba)
		}
	}
	return nil
}

func TestCopy(t *testing.T) {
	r := newRig(t, Limits{8, 32, 4}, blocks.Options{InFlight: 3})
	input := []blocks.Piece{piece(5, 300, 50), piece(100, 200, 10), piece(120, 210, 30), piece(0, 399, 1)}
	var checked atomic.Uint64
	res, err := r.CopyGuarded(t.Context(), input, nil, func(c *CopyCommand) error { checked.Add(c.Blocks()); return nil })
	if err != nil {
		t.Fatal(err)
	}
	if err := r.account(input, res); err != nil {
		t.Fatal(err)
	}
	if len(res.Redo)+len(res.Fenced) != 0 || res.Again != 0 {
		t.Errorf("%+v", res)
	}
	copies, err := r.loop.Copies()
	if err != nil || len(copies) != res.Commands || fmt.Sprint(res.Done) != "[100+10->200 120+30->210 5+50->300 0+1->399]" {
		t.Errorf("%d copies (%v), %d commands, done %v", len(copies), err, res.Commands, res.Done)
	}
	if checked.Load() != 91 {
		t.Errorf("%d blocks checked", checked.Load())
	}
	for _, e := range r.loop.Log() {
		if !e.Admin && e.Command.Timeout != 2*time.Minute {
			t.Errorf("issued with timeout %v", e.Command.Timeout)
		}
	}
}

func TestCopyRefusesTheBatch(t *testing.T) {
	for name, tc := range map[string]struct {
		pieces []blocks.Piece
		want   error
	}{
		"empty piece":              {[]blocks.Piece{piece(1, 300, 0)}, blocks.ErrInvalid},
		"wraps":                    {[]blocks.Piece{piece(1, ^uint64(0), 2)}, blocks.ErrInvalid},
		"source past the end":      {[]blocks.Piece{piece(399, 300, 2)}, blocks.ErrOutOfRange},
		"destination past the end": {[]blocks.Piece{piece(1, 399, 2)}, blocks.ErrOutOfRange},
		"same destination":         {[]blocks.Piece{piece(1, 300, 5), piece(50, 304, 5)}, blocks.ErrOverlap},
		"onto itself":              {[]blocks.Piece{piece(10, 10, 1)}, blocks.ErrOverlap},
		"onto itself, moved":       {[]blocks.Piece{piece(10, 15, 10)}, blocks.ErrOverlap},
		"one reads what one wrote": {[]blocks.Piece{piece(10, 300, 10), piece(305, 100, 1)}, blocks.ErrOverlap},
	} {
		r := newRig(t, Limits{8, 32, 4}, blocks.Options{})
		if _, err := r.Copy(t.Context(), tc.pieces); !errors.Is(err, tc.want) {
			t.Errorf("%s: %v, want %v", name, err, tc.want)
		}
		if copies, err := r.loop.Copies(); err != nil || len(copies) != 0 {
			t.Errorf("%s: %d commands were issued", name, len(copies))
		}
	}
	r := newRig(t, Limits{8, 32, 4}, blocks.Options{})
	if _, err := r.Copy(t.Context(), []blocks.Piece{piece(1, 300, 5), piece(3, 310, 5), piece(1, 305, 5)}); err != nil {
		t.Errorf("one source for several destinations: %v", err)
	}
}

func TestCopyCheckKeepsTheRestAtHome(t *testing.T) {
	r := newRig(t, Limits{8, 8, 1}, blocks.Options{InFlight: 1})
	stale := errors.New("stale")
	guard := func(c *CopyCommand) error {
		if c.DstLBA >= 308 {
			return stale
		}
		return nil
	}
	input := []blocks.Piece{piece(0, 300, 40)}
	res, err := r.CopyGuarded(t.Context(), input, nil, guard)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.account(input, res); err != nil {
		t.Fatal(err)
	}
	if res.Commands != 1 || len(res.Redo) != 2 {
		t.Fatalf("%+v", res)
	}
	for _, f := range res.Redo {
		if f.Action != blocks.ActionReresolve || !f.Untouched || !errors.Is(f.Err, stale) || f.Reason != "check:refused" {
			t.Errorf("%+v", f)
		}
	}
}

// What each status does to the piece and to the rest of the batch.
func TestCopyFollowsTheTable(t *testing.T) {
	for status, row := range statuses {
		if status == StatusSuccess || row.action == blocks.ActionShrink || row.action == blocks.ActionRetryPath {
			continue
		}
		r := newRig(t, Limits{8, 16, 2}, blocks.Options{InFlight: 1})
		r.loop.SetFault(func(n int, c *Command) Fault {
			if n != 1 {
				return Fault{}
			}
			return Fault{Status: status | StatusDNR, At: 1, Junk: true}
		})
		input := []blocks.Piece{piece(0, 300, 64)} // four commands
		res, err := r.Copy(t.Context(), input)
		if err != nil {
			t.Fatal(err)
		}
		if err := r.account(input, res); err != nil {
			t.Errorf("%v: %v", status, err)
		}
		wantCommands := 4
		if row.action.Stops() {
			wantCommands = 2
		}
		if res.Commands != wantCommands {
			t.Errorf("%v: %d commands", status, res.Commands)
		}
		if row.action == blocks.ActionFence {
			if len(res.Fenced) != 1 || fmt.Sprint(res.Fenced[0].Pieces) != "[16+16->316]" {
				t.Errorf("%v: %+v", status, res)
			}
			continue
		}
		at := uint64(316)
		if status.reportsProgress() {
			at = 324 // range 0 of the second command is known to be done
		}
		first := res.Redo[0]
		if len(res.Fenced) != 0 || first.DstLBA != at || first.Action != row.action || first.Untouched || !errors.Is(first.Err, status) {
			t.Errorf("%v: %+v", status, res)
		}
	}
}

func TestCopyRereadsTheLimits(t *testing.T) {
	r := newRig(t, Limits{32, 64, 8}, blocks.Options{InFlight: 1})
	now := Limits{5, 20, 3}
	r.loop.SetEnforced(1, now)
	r.loop.SetReported(1, now)
	input := []blocks.Piece{piece(0, 210, 100), piece(150, 350, 10)}
	res, err := r.Copy(t.Context(), input)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.account(input, res); err != nil {
		t.Fatal(err)
	}
	// One command is too large, then 100 blocks go by 15 (three ranges of five).
	if len(res.Redo)+len(res.Fenced) != 0 || res.Again != 1 || res.Commands != 1+7+1 || r.Limits() != now {
		t.Errorf("%+v, limits %v", res, r.Limits())
	}
}

func TestCopyHalvesWhenTheDeviceReportsNothingNew(t *testing.T) {
	r := newRig(t, Limits{32, 64, 8}, blocks.Options{InFlight: 2})
	r.loop.SetEnforced(1, Limits{5, 20, 3})
	input := []blocks.Piece{piece(0, 210, 100), piece(150, 350, 10)}
	res, err := r.Copy(t.Context(), input)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.account(input, res); err != nil {
		t.Fatal(err)
	}
	if len(res.Redo)+len(res.Fenced) != 0 || res.Again != 3 || r.Limits() != (Limits{4, 8, 1}) {
		t.Errorf("%d refreshes, limits %v", res.Again, r.Limits())
	}
}

// Two batches that are refused at the same limits halve them once.
func TestLimitsAreHalvedOnce(t *testing.T) {
	r := newRig(t, Limits{32, 64, 8}, blocks.Options{})
	used := r.Limits()
	for range 2 {
		if !r.adjust(used, used) || r.Limits() != (Limits{16, 32, 4}) {
			t.Errorf("limits %v", r.Limits())
		}
	}
}

func TestCopyGivesUpHalving(t *testing.T) {
	r := newRig(t, Limits{32, 64, 8}, blocks.Options{})
	r.loop.SetFault(func(n int, c *Command) Fault { return Fault{Status: StatusCommandSizeLimit} })
	input := []blocks.Piece{piece(0, 210, 100)}
	res, err := r.Copy(t.Context(), input)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.account(input, res); err != nil {
		t.Fatal(err)
	}
	for _, f := range res.Redo {
		if f.Action != blocks.ActionNotSupported || f.Reason != "device:status-0x183" || f.Untouched {
			t.Errorf("%+v", f)
		}
	}
	if res.Again > 7 { // 64 → 1
		t.Errorf("%d refreshes", res.Again)
	}
}

func TestCopyRefreshFindsAnotherNamespace(t *testing.T) {
	r := newRig(t, Limits{32, 64, 8}, blocks.Options{})
	r.loop.SetEnforced(1, Limits{1, 1, 1})
	r.loop.mu.Lock()
	r.loop.namespaces[1].NGUID[0] ^= 1
	r.loop.mu.Unlock()
	res, err := r.Copy(t.Context(), []blocks.Piece{piece(0, 210, 100)})
	if err != nil {
		t.Fatal(err)
	}
	if len(res.Redo) == 0 || res.Redo[0].Action != blocks.ActionReresolve || !errors.Is(res.Redo[0].Err, blocks.ErrChanged) {
		t.Errorf("%+v", res)
	}
}

func TestCopyMaxCommandBytes(t *testing.T) {
	r := newRig(t, Limits{32, 64, 8}, blocks.Options{MaxCommandBytes: 10*testBlock + 1})
	res, err := r.Copy(t.Context(), []blocks.Piece{piece(0, 210, 100)})
	if err != nil || res.Commands != 10 {
		t.Errorf("%+v, %v", res, err)
	}
}

// A command that does not come back is fenced, the batch ends, nobody may use the
// blocks, and when it comes back after all they are free again.
func TestCopyFencesWhatDoesNotComeBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Limits{8, 8, 1}, blocks.Options{InFlight: 2, Timeout: time.Second, Grace: time.Second})
		hold := make(chan struct{})
		r.loop.SetFault(func(n int, c *Command) Fault {
			if n == 1 {
				return Fault{Hold: hold}
			}
			return Fault{}
		})
		input := []blocks.Piece{piece(0, 300, 16)}
		res, err := r.Copy(t.Context(), input)
		if err != nil {
			t.Fatal(err)
		}
		if err := r.account(input, res); err != nil {
			t.Fatal(err)
		}
		if len(res.Fenced) != 1 || len(res.Redo) != 0 || len(res.Fenced[0].Pieces) != 1 || !errors.Is(res.Fenced[0].Err, blocks.ErrTimeout) {
			t.Fatalf("%+v", res)
		}
		fence := res.Fenced[0]
		lost := fence.Pieces[0]
		for name, p := range map[string]blocks.Piece{
			"again":            lost,
			"onto one block":   piece(100, lost.DstLBA+7, 1),
			"from the torn":    piece(lost.DstLBA, 350, 1),
			"around the fence": piece(100, lost.DstLBA-1, 20),
		} {
			if _, err := r.Copy(t.Context(), []blocks.Piece{p}); !errors.Is(err, blocks.ErrFenced) {
				t.Errorf("%s: %v", name, err)
			}
		}
		free := []blocks.Piece{piece(lost.SrcLBA, 380, lost.Blocks)} // its source may be read
		if res, err := r.Copy(t.Context(), free); err != nil || len(res.Done) != 1 {
			t.Errorf("%+v, %v", res, err)
		}
		close(hold)
		<-fence.Ended()
		res, err = r.Copy(t.Context(), []blocks.Piece{lost})
		if err != nil || len(res.Done) != 1 || !r.copied(lost) {
			t.Errorf("%+v, %v", res, err)
		}
	})
}

// EINTR comes back at once and proves nothing: the fence stays, and the list of
// ranges stays as it was, although the Copier has gone on.
func TestCopyFencesGhosts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Limits{8, 8, 1}, blocks.Options{InFlight: 1})
		hold := make(chan struct{})
		r.loop.SetFault(func(n int, c *Command) Fault {
			if n == 0 {
				return Fault{Lost: unix.EINTR, Hold: hold}
			}
			return Fault{}
		})
		input := []blocks.Piece{piece(0, 300, 8)}
		res, err := r.Copy(t.Context(), input)
		if err != nil || len(res.Fenced) != 1 || res.Fenced[0].Reason != "device:errno-eintr" {
			t.Fatalf("%+v, %v", res, err)
		}
		for i := range uint64(4) { // would reuse the buffer, if it could
			if res, err := r.Copy(t.Context(), []blocks.Piece{piece(100+i, 380+i, 1)}); err != nil || len(res.Done) != 1 {
				t.Fatalf("%+v, %v", res, err)
			}
		}
		close(hold)
		r.loop.Wait()
		if !r.copied(input[0]) {
			t.Error("the ghost read another list")
		}
		select {
		case <-res.Fenced[0].Ended():
			t.Error("nothing has proven that it ended")
		default:
		}
		if _, err := r.Copy(t.Context(), input); !errors.Is(err, blocks.ErrFenced) {
			t.Error(err)
		}
	})
}

func TestInFlightIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Limits{1, 1, 1}, blocks.Options{InFlight: 3})
		hold := make(chan struct{})
		r.loop.SetFault(func(n int, c *Command) Fault { return Fault{Hold: hold} })
		for i := range uint64(2) { // two batches share the bound
			go func() {
				if _, err := r.Copy(t.Context(), []blocks.Piece{piece(0, 300+50*i, 20)}); err != nil {
					t.Error(err)
				}
			}()
		}
		synctest.Wait()
		if copies, err := r.loop.Copies(); err != nil || len(copies) != 3 {
			t.Errorf("%d in flight, %v", len(copies), err)
		}
		close(hold)
	})
}

// drawFault draws something that can become of a command. Those that are held are
// ghosts or commands that never come back in time; their channel has to be made
// in the bubble of the trial.
func drawFault(t *rapid.T) (f Fault, held bool) {
	status := rapid.SampledFrom([]Status{
		StatusUnrecoveredRead, StatusUnrecoveredRead, StatusWriteFault, StatusOverlappingRange, StatusCommandSizeLimit,
		StatusCommandSizeLimit, StatusInsufficientResources, StatusReservationConflict, StatusInvalidField,
		StatusLBAOutOfRange, StatusHostPathError, StatusHostAborted, 0x302, 0x007, 0x7C0, 0x555,
	})
	at := rapid.IntRange(0, 5)
	switch rapid.IntRange(0, 11).Draw(t, "kind") {
	case 0, 1:
		return Fault{Status: status.Draw(t, "status"), At: at.Draw(t, "at"), Junk: rapid.Bool().Draw(t, "junk")}, false
	case 2:
		modest := uint32(0)
		return Fault{Status: status.Draw(t, "status"), At: at.Draw(t, "at"), Junk: true, DW0: &modest}, false
	case 3:
		nonsense := rapid.Uint32Range(256, ^uint32(0)).Draw(t, "dw0")
		return Fault{Status: status.Draw(t, "status"), At: at.Draw(t, "at"), Junk: true, DW0: &nonsense}, false
	case 4:
		return Fault{Lost: unix.EINTR, Status: status.Draw(t, "status"), At: at.Draw(t, "at"), Junk: true}, false
	case 5:
		return Fault{Lost: unix.EIO}, true
	case 6:
		return Fault{}, true
	case 7:
		return Fault{Lost: fmt.Errorf("%w: %w", blocks.ErrNotIssued, unix.EAGAIN)}, false
	}
	return Fault{}, false
}

// The heart: whatever the device does, every block is accounted for, what is said
// of it is true, and redoing what may be redone gives the copy outside the fences.
func TestCopyLosesNothing(t *testing.T) {
	var trials, fenced, redone, refreshed int
	rapid.Check(t, func(rt *rapid.T) {
		trials++
		limits, pieces := drawLimits(rt), drawPieces(rt, testHalf)
		input := rapid.Permutation(pieces).Draw(rt, "order")
		inFlight := rapid.IntRange(1, 4).Draw(rt, "in flight")
		faults := make([]Fault, rapid.IntRange(1, 12).Draw(rt, "faults"))
		held := make([]bool, len(faults))
		for i := range faults {
			faults[i], held[i] = drawFault(rt)
		}
		if rapid.Bool().Draw(rt, "size limit first") { // too rare to be left to drawFault
			faults[0], held[0] = Fault{Status: StatusCommandSizeLimit}, false
		}
		var failure error
		synctest.Test(t, func(t *testing.T) {
			failure = func() error {
				hold := make(chan struct{})
				for i := range faults {
					if held[i] {
						faults[i].Hold = hold
					}
				}
				r := newRig(t, limits, blocks.Options{InFlight: inFlight, Timeout: time.Second, Grace: time.Second})
				r.loop.SetFault(func(n int, c *Command) Fault { return faults[n%len(faults)] })
				res, err := r.Copy(t.Context(), input)
				close(hold)
				r.loop.Wait()
				synctest.Wait()
				if err != nil {
					return err
				}
				if err := r.account(input, res); err != nil {
					return err
				}
				fenced += len(res.Fenced)
				redone += len(res.Redo)
				refreshed += res.Again
				if cap, free := cap(r.issuer.Slots), len(r.issuer.Slots); cap != free {
					return fmt.Errorf("%d of %d slots came back", free, cap)
				}
				for _, f := range res.Redo {
					copy(r.mem[f.DstLBA*testBlock:], r.before[f.SrcLBA*testBlock:(f.SrcLBA+f.Blocks)*testBlock])
					if !r.copied(f.Piece) {
						return fmt.Errorf("redo of %v", f.Piece)
					}
				}
				return r.account(input, &blocks.Result{Done: append(res.Done, redoPieces(res)...), Fenced: res.Fenced})
			}()
		})
		if failure != nil {
			rt.Fatal(failure)
		}
	})
	if few := trials < 20; !few && (fenced == 0 || redone == 0 || refreshed == 0) { // there are few under the race detector
		t.Errorf("the trials were too kind: %d fences, %d redone, %d refreshes", fenced, redone, refreshed)
	}
}

func redoPieces(res *blocks.Result) []blocks.Piece {
	var pieces []blocks.Piece
	for _, f := range res.Redo {
		pieces = append(pieces, f.Piece)
	}
	return pieces
}
