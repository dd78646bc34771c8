package blocks

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

var errDevice = errors.New("what the device says")

func answer(a Action) Outcome { return Outcome{Action: a, Reason: "device:test", Err: errDevice} }

func TestIssue(t *testing.T) {
	f := newFake(3)
	input := []Piece{piece(5, 150, 20), piece(50, 120, 10), piece(60, 130, 5), piece(0, 199, 1)}
	res := mustCopy(t, f, t.Context(), input...)
	if err := f.account(input, res); err != nil {
		t.Fatal(err)
	}
	// 15, 20 and 1 blocks in pieces of four make 4, 5 and 1, two a command.
	if len(res.Redo)+len(res.Fenced)+res.Again != 0 || res.Commands != 5 || fmt.Sprint(res.Done) != "[50+15->120 5+20->150 0+1->199]" {
		t.Errorf("%+v", res)
	}
	if res := mustCopy(t, f, t.Context()); len(res.Done)+len(res.Redo)+len(res.Fenced)+res.Commands != 0 {
		t.Errorf("nothing became %+v", res)
	}
}

// What each action does to a command and to the rest of the batch.
func TestIssueFollowsTheAction(t *testing.T) {
	for a := range ActionFence + 1 {
		f := newFake(1)
		f.fault = func(n int) fault {
			if n != 1 {
				return fault{}
			}
			return fault{outcome: answer(a), blocks: 5}
		}
		input := []Piece{piece(0, 150, 32)} // four commands
		if a == ActionDone {
			f.fault = nil
		}
		res := mustCopy(t, f, t.Context(), input...)
		if err := f.account(input, res); err != nil {
			t.Errorf("%v: %v", a, err)
		}
		var want struct{ commands, again, redo, fenced int }
		switch {
		case a == ActionDone:
			want.commands = 4
		case a.Again():
			want.commands, want.again = 5, 1
		case a == ActionFence:
			want.commands, want.redo, want.fenced = 2, 1, 1
		case a.Stops():
			want.commands, want.redo = 2, 3 // two of the command, and the rest
		default:
			want.commands, want.redo = 4, 2
		}
		if res.Commands != want.commands || res.Again != want.again || len(res.Redo) != want.redo || len(res.Fenced) != want.fenced {
			t.Errorf("%v: %+v", a, res)
		}
		for i, r := range res.Redo {
			rest := i == len(res.Redo)-1 && a.Stops()
			if r.Untouched != rest || r.Action != a && (a != ActionFence || r.Action != ActionBackOff) || !errors.Is(r.Err, errDevice) {
				t.Errorf("%v: %+v", a, r)
			}
		}
	}
}

// The pieces of a command that are known to be done count.
func TestIssueCountsWhatIsDone(t *testing.T) {
	f := newFake(1)
	o := answer(ActionEmulate)
	o.Done = 1
	f.fault = func(int) fault { return fault{outcome: o, blocks: 6} }
	input := []Piece{piece(0, 150, 8)}
	res := mustCopy(t, f, t.Context(), input...)
	if err := f.account(input, res); err != nil || fmt.Sprint(res.Done) != "[0+4->150]" || len(res.Redo) != 1 || res.Redo[0].Untouched {
		t.Errorf("%+v, %v", res, err)
	}
}

// What was written in part before it was tried again is not untouched.
func TestIssueRemembersWhatIsTorn(t *testing.T) {
	for again, untouched := range map[Outcome]bool{
		answer(ActionShrink): false,
		{Action: ActionRetry, Reason: "busy", Err: errDevice, Untouched: true}: true,
	} {
		f := newFake(1)
		f.fault = func(n int) fault {
			switch {
			case n == 0 && again.Untouched:
				return fault{outcome: again}
			case n == 0:
				return fault{outcome: again, blocks: 3}
			}
			return fault{outcome: Outcome{Action: ActionBackOff, Reason: "busy", Err: errDevice, Untouched: true}}
		}
		input := []Piece{piece(0, 150, 16)}
		res := mustCopy(t, f, t.Context(), input...)
		if err := f.account(input, res); err != nil {
			t.Error(err)
		}
		for _, r := range res.Redo {
			if r.Untouched != untouched {
				t.Errorf("after %v: %+v", again, r)
			}
		}
	}
}

// A protocol that has tried often enough does not issue the rest.
func TestIssueEndsWithTheProtocol(t *testing.T) {
	f := newFake(2)
	f.fault = func(int) fault { return fault{outcome: answer(ActionRetry)} }
	input := []Piece{piece(0, 150, 16)}
	res := mustCopy(t, f, t.Context(), input...)
	if err := f.account(input, res); err != nil || res.Again != 6 || len(res.Redo) != 1 || !errors.Is(res.Redo[0].Err, errTired) {
		t.Errorf("%+v, %v", res, err)
	}
}

func TestIssueRefused(t *testing.T) {
	f := newFake(1)
	f.refused = errors.New("stale")
	input := []Piece{piece(0, 150, 16)}
	res := mustCopy(t, f, t.Context(), input...)
	if err := f.account(input, res); err != nil || res.Commands != 0 {
		t.Errorf("%+v, %v", res, err)
	}
	for _, r := range res.Redo {
		if r.Action != ActionReresolve || !r.Untouched || r.Reason != "check:refused" || !errors.Is(r.Err, f.refused) {
			t.Errorf("%+v", r)
		}
	}
}

func TestCanceledBefore(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	f := newFake(2)
	input := []Piece{piece(0, 150, 16)}
	res := mustCopy(t, f, ctx, input...)
	if err := f.account(input, res); err != nil {
		t.Fatal(err)
	}
	if res.Commands != 0 || res.Redo[0].Action != ActionCanceled || !res.Redo[0].Untouched || !errors.Is(res.Redo[0].Err, context.Canceled) {
		t.Errorf("%+v", res)
	}
}

// A cancel stops the issue; what is in flight is still waited for and counted.
func TestCanceledInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		f := newFake(2)
		hold := make(chan struct{})
		f.fault = func(int) fault { return fault{hold: hold} }
		input := []Piece{piece(0, 150, 40)}
		done := make(chan *Result, 1)
		go func() { done <- mustCopy(t, f, ctx, input...) }()
		synctest.Wait() // both slots are in flight
		cancel()
		synctest.Wait()
		select {
		case <-done:
			t.Fatal("did not wait for what is in flight")
		default:
		}
		close(hold)
		res := <-done
		if err := f.account(input, res); err != nil {
			t.Fatal(err)
		}
		if res.Commands != 2 || fmt.Sprint(res.Done) != "[0+16->150]" || len(res.Fenced) != 0 {
			t.Errorf("%+v", res)
		}
	})
}

// A command that does not come back is fenced, the batch ends, nobody may use the
// blocks, and when it comes back after all they are free again.
func TestFence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(2)
		hold := make(chan struct{})
		f.fault = func(n int) fault {
			if n == 1 {
				return fault{hold: hold}
			}
			return fault{}
		}
		input := []Piece{piece(0, 150, 16)}
		start := time.Now()
		res := mustCopy(t, f, t.Context(), input...)
		if err := f.account(input, res); err != nil {
			t.Fatal(err)
		}
		if len(res.Fenced) != 1 || len(res.Redo) != 0 || len(res.Fenced[0].Pieces) != 1 || !errors.Is(res.Fenced[0].Err, ErrTimeout) || time.Since(start) != f.Patience {
			t.Fatalf("%+v after %v", res, time.Since(start))
		}
		fence := res.Fenced[0]
		lost := fence.Pieces[0]
		for name, p := range map[string]Piece{
			"again":            lost,
			"onto one block":   piece(50, lost.DstLBA+7, 1),
			"from the torn":    piece(lost.DstLBA, 190, 1),
			"around the fence": piece(50, lost.DstLBA-1, 10),
		} {
			if _, err := f.copy(t.Context(), p); !errors.Is(err, ErrFenced) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if res := mustCopy(t, f, t.Context(), piece(lost.SrcLBA, 180, lost.Blocks)); len(res.Done) != 1 { // its source may be read
			t.Errorf("%+v", res)
		}
		close(hold)
		<-fence.Ended()
		if res := mustCopy(t, f, t.Context(), lost); len(res.Done) != 1 || !f.copied(lost) {
			t.Errorf("%+v", res)
		}
	})
}

// What a transport says of a command that has been lost proves nothing: the fence
// stays, and the room of the command is not used again.
func TestGhostKeepsItsRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(1)
		hold := make(chan struct{})
		f.fault = func(n int) fault {
			if n == 0 {
				return fault{hold: hold, ghost: true, outcome: answer(ActionFence)}
			}
			return fault{}
		}
		input := piece(0, 150, 8)
		res := mustCopy(t, f, t.Context(), input)
		if len(res.Fenced) != 1 {
			t.Fatalf("%+v", res)
		}
		for i := range uint64(4) { // would use the room again, if it could
			if res := mustCopy(t, f, t.Context(), piece(50+i, 190+i, 1)); len(res.Done) != 1 {
				t.Fatalf("%+v", res)
			}
		}
		close(hold)
		f.late.Wait()
		if !f.copied(input) {
			t.Error("the ghost copied something else")
		}
		select {
		case <-res.Fenced[0].Ended():
			t.Error("nothing has proven that it ended")
		default:
		}
		if _, err := f.copy(t.Context(), input); !errors.Is(err, ErrFenced) {
			t.Error(err)
		}
	})
}

// Whatever the device does, every block is accounted for, what is said of it is
// true, and slots come back.
func TestIssueLosesNothing(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var input []Piece
		dst := uint64(half)
		for range rapid.IntRange(1, 8).Draw(rt, "pieces") {
			n := rapid.Uint64Range(1, 12).Draw(rt, "blocks")
			input = append(input, piece(rapid.Uint64Range(0, half-n).Draw(rt, "source"), dst, n))
			dst += n
		}
		input = rapid.Permutation(input).Draw(rt, "order")
		faults := make([]fault, rapid.IntRange(1, 8).Draw(rt, "faults"))
		held := make([]bool, len(faults))
		for i := range faults {
			if rapid.Bool().Draw(rt, "fault") {
				faults[i].outcome = answer(Action(rapid.IntRange(0, int(ActionFence)).Draw(rt, "action")))
				faults[i].blocks = rapid.Uint64Range(0, 8).Draw(rt, "done")
				faults[i].outcome.Done = int(faults[i].blocks / 4)
				faults[i].ghost = faults[i].outcome.Action == ActionFence
				held[i] = faults[i].outcome.Action == ActionDone || faults[i].ghost
			}
		}
		inFlight := rapid.IntRange(1, 4).Draw(rt, "in flight")
		var failed error
		synctest.Test(t, func(t *testing.T) {
			f := newFake(inFlight)
			hold := make(chan struct{})
			f.fault = func(n int) fault {
				what := faults[n%len(faults)]
				if held[n%len(faults)] {
					what.hold = hold
				}
				if what.outcome.Action == ActionDone {
					what.outcome = Outcome{}
				}
				return what
			}
			res, err := f.copy(t.Context(), input...)
			close(hold)
			f.late.Wait()
			synctest.Wait()
			if failed = err; failed == nil {
				failed = f.account(input, res)
			}
		})
		if failed != nil {
			rt.Fatal(failed)
		}
	})
}

// TestIssueWhileStopped: a process that did not run when its commands came back has to
// take the answers, and must not believe that there are none.
func TestIssueWhileStopped(t *testing.T) {
	for range 20 { // what is looked at first depends on chance
		synctest.Test(t, func(t *testing.T) {
			f := newFake(2)
			made := 0
			f.making = func() {
				if made++; made == 2 {
					time.Sleep(10 * f.Patience)
				}
			}
			input := []Piece{piece(0, 150, 32)}
			res := mustCopy(t, f, t.Context(), input...)
			if err := f.account(input, res); err != nil || len(res.Fenced) > 0 {
				t.Errorf("%v, %+v", err, res)
			}
		})
	}
}

// TestIssueWaitsForRoom: who waits for room that others have has no command that is overdue.
func TestIssueWaitsForRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(1)
		taken := <-f.Slots
		time.AfterFunc(10*f.Patience, func() { f.Slots <- taken })
		input := []Piece{piece(0, 150, 8)}
		res := mustCopy(t, f, t.Context(), input...)
		if err := f.account(input, res); err != nil || len(res.Fenced) > 0 || len(res.Done) != 1 {
			t.Errorf("%v, %+v", err, res)
		}
	})
}
