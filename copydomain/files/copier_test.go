package files

import (
	"bytes"
	"context"
	"errors"
	"syscall"
	"testing"

	"pgregory.net/rapid"

	"github.com/dmcopy/dmcopy/copydomain/blocks"
	"github.com/dmcopy/dmcopy/internal/boottime"
)

const unit = 512

var (
	sharing = FileSystem{Type: "btrfs", Name: "x", Method: Clone, Block: unit}
	serving = FileSystem{Type: "nfs", Name: "0:1", Method: CopyRange, Block: unit}
)

func pattern(n int, seed byte) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i)*31 ^ byte(i>>8)*17 ^ seed
	}
	return b
}

func allow(Move) error { return nil }

// newLoopback is two files of n units, and a copier with calls of four.
func newLoopback(t testing.TB, fs FileSystem, n int) (*Loopback, *Copier) {
	t.Helper()
	l := &Loopback{Source: pattern(n*unit, 1), Dest: pattern(n*unit, 2)}
	c, err := NewCopier(l, fs, false, Options{CallBytes: 4 * unit})
	if err != nil {
		t.Fatal(err)
	}
	return l, c
}

// accounted checks that all of the moves but what is to be done again was copied,
// and nothing else written.
func accounted(t interface{ Fatalf(string, ...any) }, l *Loopback, before []byte, moves []Move, r Result) {
	want := bytes.Clone(before)
	for _, m := range moves {
		copy(want[m.Dst:][:m.Len], l.Source[m.Src:][:m.Len])
	}
	got := bytes.Clone(l.Dest)
	for _, f := range r.Redo {
		if f.Len <= 0 || f.Reason == "" || f.Err == nil {
			t.Fatalf("failure %+v", f)
		}
		inside := false
		for _, m := range moves {
			inside = inside || f.Dst-m.Dst == f.Src-m.Src && f.Dst >= m.Dst && f.Dst+f.Len <= m.Dst+m.Len
		}
		if !inside {
			t.Fatalf("failure %+v of %+v", f, moves)
		}
		copy(got[f.Dst:][:f.Len], want[f.Dst:][:f.Len])
	}
	if !bytes.Equal(got, want) {
		t.Fatalf("wrong bytes, with %+v to be done again of %+v", r.Redo, moves)
	}
}

func TestCopy(t *testing.T) {
	for _, fs := range []FileSystem{sharing, serving} {
		l, c := newLoopback(t, fs, 32)
		before, moves := bytes.Clone(l.Dest), []Move{{0, 10 * unit, 9 * unit}, {20 * unit, 0, 4 * unit}}
		var guarded int64
		r, err := c.Copy(t.Context(), moves, nil, func(m Move) error {
			guarded += m.Len
			return nil
		})
		if err != nil || len(r.Redo) > 0 || r.Calls != 4 || guarded != 13*unit {
			t.Errorf("%+v, %v, guarded %d", r, err, guarded)
		}
		accounted(t, l, before, moves, r)
		if err := c.Flush(); err != nil || !bytes.Equal(l.Synced(), l.Dest) {
			t.Errorf("not durable: %v", err)
		}
	}
}

// TestErrors: what each error means for the run, and for those that follow.
func TestErrors(t *testing.T) {
	for _, c := range []struct {
		err    error
		reason string
		calls  int // of three
		action blocks.Action
	}{
		{syscall.EOPNOTSUPP, "file:not-supported", 1, blocks.ActionNotSupported},
		{syscall.ENOSYS, "file:not-supported", 1, blocks.ActionNotSupported},
		{syscall.ENOTTY, "file:not-supported", 1, blocks.ActionNotSupported},
		{syscall.EXDEV, "file:cross-device", 1, blocks.ActionNotSupported},
		{syscall.EINVAL, "file:refused", 1, blocks.ActionNotSupported},
		{syscall.ETXTBSY, "file:in-use", 1, blocks.ActionNotSupported},
		{syscall.EPERM, "file:denied", 1, blocks.ActionNotSupported},
		{syscall.EACCES, "file:denied", 1, blocks.ActionNotSupported},
		{syscall.EROFS, "file:denied", 1, blocks.ActionNotSupported},
		{syscall.ENOSPC, "file:no-space", 3, blocks.ActionEmulate},
		{syscall.EDQUOT, "file:no-space", 3, blocks.ActionEmulate},
		{syscall.EIO, "file:errno-5", 3, blocks.ActionEmulate},
		{errors.New("something"), "file:unknown", 3, blocks.ActionEmulate},
	} {
		for _, fs := range []FileSystem{sharing, serving} {
			l, copier := newLoopback(t, fs, 12)
			before, moves := bytes.Clone(l.Dest), []Move{{0, 0, 8 * unit}, {8 * unit, 8 * unit, 4 * unit}}
			// Half of the first is done nevertheless.
			l.Answer = func(n int, m Move) Answer {
				if n == 0 {
					return Answer{Err: opError("test", "", c.err), Copied: m.Len / 2}
				}
				return Answer{Err: c.err}
			}
			r, err := copier.Copy(t.Context(), moves, nil, allow)
			if err != nil || l.Calls() != c.calls || r.Calls != int64(c.calls) {
				t.Errorf("%v: %+v, %v, %d calls", c.err, r, err, l.Calls())
			}
			var redo int64
			for _, f := range r.Redo {
				redo += f.Len
				if f.Reason != c.reason || f.Action != c.action || !errors.Is(f.Err, c.err) {
					t.Errorf("%v: %+v", c.err, f)
				}
			}
			if redo != 12*unit {
				t.Errorf("%v: %d bytes to be done again", c.err, redo)
			}
			accounted(t, l, before, moves, r)
		}
	}
}

// TestShort: a call may do less, and say so.
func TestShort(t *testing.T) {
	l, c := newLoopback(t, serving, 8)
	before, moves := bytes.Clone(l.Dest), []Move{{0, 0, 8 * unit}}
	l.Answer = func(n int, m Move) Answer { return Answer{Copied: min(m.Len, 700), Said: min(m.Len, 700)} }
	r, err := c.Copy(t.Context(), moves, nil, allow)
	if err != nil || len(r.Redo) > 0 || r.Calls != 6 {
		t.Errorf("%+v, %v", r, err)
	}
	accounted(t, l, before, moves, r)
}

// TestImpossibleCounts: what cannot be true is no success.
func TestImpossibleCounts(t *testing.T) {
	for _, c := range []struct {
		said   int64
		reason string
		left   int64
	}{{-1, "file:short", 4 * unit}, {4*unit + 1, "file:wrong-count", 8 * unit}} {
		l, copier := newLoopback(t, serving, 8)
		before, moves := bytes.Clone(l.Dest), []Move{{0, 0, 8 * unit}}
		l.Answer = func(n int, m Move) Answer {
			if n == 0 {
				return Answer{Said: c.said}
			}
			return Answer{}
		}
		r, err := copier.Copy(t.Context(), moves, nil, allow)
		var left int64
		for _, f := range r.Redo {
			left += f.Len
		}
		if err != nil || len(r.Redo) == 0 || r.Redo[0].Reason != c.reason || left != c.left {
			t.Errorf("said %d: %+v, %v", c.said, r, err)
		}
		accounted(t, l, before, moves, r)
	}
}

// TestFileShrinks: no call is made beyond the end of either file as it is by then.
func TestFileShrinks(t *testing.T) {
	for _, fs := range []FileSystem{sharing, serving} {
		for side := range 2 {
			l, c := newLoopback(t, fs, 12)
			before, moves := bytes.Clone(l.Dest), []Move{{0, 0, 12 * unit}}
			source, dest := l.Source, l.Dest
			l.Answer = func(n int, m Move) Answer {
				if side == 0 {
					l.Source = source[:6*unit]
				} else {
					l.Dest = dest[:6*unit]
				}
				return Answer{}
			}
			r, err := c.Copy(t.Context(), moves, nil, allow)
			if err != nil || l.Calls() != 1 || len(r.Redo) != 2 || r.Redo[0].Reason != "file:size" || !errors.Is(r.Redo[0].Err, ErrSize) {
				t.Errorf("%+v, %v", r, err)
			}
			l.Source, l.Dest = source, dest
			accounted(t, l, before, moves, r)
		}
	}
}

// TestInterrupted: a signal is no failure.
func TestInterrupted(t *testing.T) {
	for _, fs := range []FileSystem{sharing, serving} {
		l, c := newLoopback(t, fs, 8)
		before, moves := bytes.Clone(l.Dest), []Move{{0, 0, 8 * unit}}
		l.Answer = func(n int, m Move) Answer {
			if n%2 == 0 {
				return Answer{Err: syscall.EINTR, Copied: unit}
			}
			return Answer{}
		}
		r, err := c.Copy(t.Context(), moves, nil, allow)
		if err != nil || len(r.Redo) > 0 || r.Calls != 4 {
			t.Errorf("%+v, %v", r, err)
		}
		accounted(t, l, before, moves, r)
	}
}

func TestCancel(t *testing.T) {
	l, c := newLoopback(t, sharing, 12)
	before, moves := bytes.Clone(l.Dest), []Move{{0, 0, 8 * unit}, {8 * unit, 8 * unit, 4 * unit}}
	ctx, cancel := context.WithCancel(t.Context())
	l.Answer = func(n int, m Move) Answer {
		cancel()
		return Answer{}
	}
	r, err := c.Copy(ctx, moves, nil, allow)
	if err != nil || l.Calls() != 1 || len(r.Redo) != 2 {
		t.Errorf("%+v, %v", r, err)
	}
	for _, f := range r.Redo {
		if f.Action != blocks.ActionCanceled {
			t.Errorf("%+v", f)
		}
	}
	accounted(t, l, before, moves, r)
}

// TestGuard: what is not allowed ends the batch before the call.
func TestGuard(t *testing.T) {
	l, c := newLoopback(t, sharing, 12)
	no := errors.New("no")
	_, err := c.Copy(t.Context(), []Move{{0, 0, 12 * unit}}, nil, func(m Move) error {
		if m.Dst > 0 {
			return no
		}
		return nil
	})
	if !errors.Is(err, no) || l.Calls() != 1 {
		t.Errorf("%v after %d calls", err, l.Calls())
	}
}

// TestSettle: before a server copies, both caches are written back, once. If that
// fails nothing is copied.
func TestSettle(t *testing.T) {
	l := &unsettled{Loopback: Loopback{Source: pattern(8*unit, 1), Dest: pattern(8*unit, 2)}, failures: 1}
	c, err := NewCopier(l, serving, false, Options{})
	if err != nil {
		t.Fatal(err)
	}
	moves := []Move{{0, 0, 8 * unit}}
	r, err := c.Copy(t.Context(), moves, nil, allow)
	if err != nil || l.Calls() != 0 || len(r.Redo) != 1 || r.Redo[0].Reason != "file:errno-5" {
		t.Errorf("%+v, %v", r, err)
	}
	for range 2 {
		if r, err := c.Copy(t.Context(), moves, nil, allow); err != nil || len(r.Redo) > 0 {
			t.Errorf("%+v, %v", r, err)
		}
	}
	if l.settled != 2 {
		t.Errorf("settled %d times", l.settled)
	}
}

type unsettled struct {
	Loopback
	settled, failures int
}

func (u *unsettled) Settle() error {
	u.settled++
	if u.settled <= u.failures {
		return syscall.EIO
	}
	return nil
}

func TestRefused(t *testing.T) {
	for name, moves := range map[string][]Move{
		"negative":            {{-unit, 0, unit}},
		"negative length":     {{0, 0, -unit}},
		"empty":               {{0, 0, 0}},
		"too large":           {{0, 1<<63 - unit, unit}},
		"unaligned length":    {{0, 0, 100}},
		"unaligned":           {{1, 0, unit}},
		"written twice":       {{0, 0, 2 * unit}, {4 * unit, unit, unit}},
		"written twice later": {{4 * unit, 2 * unit, unit}, {0, unit, 2 * unit}},
	} {
		l, c := newLoopback(t, sharing, 12)
		if r, err := c.Copy(t.Context(), moves, nil, allow); !errors.Is(err, blocks.ErrInvalid) && !errors.Is(err, blocks.ErrOverlap) || l.Calls() > 0 {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
	}
	for _, opt := range []Options{{CallBytes: 100}, {CallBytes: 1 << 31}, {CallBytes: -unit}} {
		if _, err := NewCopier(&Loopback{}, sharing, false, opt); !errors.Is(err, blocks.ErrInvalid) {
			t.Errorf("%+v: %v", opt, err)
		}
	}
	if _, err := NewCopier(&Loopback{}, FileSystem{Reason: ReasonFileSystem}, false, Options{}); !errors.Is(err, blocks.ErrInvalid) {
		t.Error(err)
	}
}

// TestWithinAFile: what is read must not be written by any move.
func TestWithinAFile(t *testing.T) {
	data := pattern(32*unit, 3)
	l := &Loopback{Source: data, Dest: data}
	c, err := NewCopier(l, sharing, true, Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, moves := range [][]Move{
		{{0, 0, unit}}, {{0, unit, 2 * unit}}, {{unit, 0, 2 * unit}},
		{{0, 8 * unit, 4 * unit}, {20 * unit, 3 * unit, unit}}, {{8 * unit, 20 * unit, unit}, {0, 6 * unit, 4 * unit}},
	} {
		if _, err := c.Copy(t.Context(), moves, nil, allow); !errors.Is(err, blocks.ErrOverlap) || l.Calls() > 0 {
			t.Errorf("%v: %v", moves, err)
		}
	}
	if r, err := c.Copy(t.Context(), []Move{{0, 8 * unit, 4 * unit}, {4 * unit, 12 * unit, 4 * unit}}, nil, allow); err != nil || len(r.Redo) > 0 {
		t.Errorf("%+v, %v", r, err)
	}
}

// TestCopyLosesNothing: whatever the calls do and say, short of lying about what they
// have copied, all that is not to be done again was copied.
func TestCopyLosesNothing(t *testing.T) {
	errnos := []error{nil, nil, nil, syscall.EIO, syscall.EINVAL, syscall.ENOSPC, syscall.EINTR, syscall.EXDEV}
	rapid.Check(t, func(t *rapid.T) {
		fs := rapid.SampledFrom([]FileSystem{sharing, serving}).Draw(t, "file system")
		l := &Loopback{Source: pattern(64*unit, 1), Dest: pattern(64*unit, 2)}
		before := bytes.Clone(l.Dest)
		c, err := NewCopier(l, fs, false, Options{CallBytes: unit * rapid.Int64Range(1, 8).Draw(t, "call")})
		if err != nil {
			t.Fatal(err)
		}
		var moves []Move
		for at := int64(0); at < 60; {
			at += rapid.Int64Range(0, 8).Draw(t, "gap")
			n := rapid.Int64Range(1, 12).Draw(t, "length")
			if at+n > 64 {
				break
			}
			moves = append(moves, Move{unit * rapid.Int64Range(0, 64-n).Draw(t, "source"), unit * at, unit * n})
			at += n
		}
		interrupts := 0
		l.Answer = func(n int, m Move) Answer {
			a := Answer{Err: rapid.SampledFrom(errnos).Draw(t, "error")}
			if errors.Is(a.Err, syscall.EINTR) {
				if interrupts++; interrupts > 20 {
					a.Err = nil
				}
			}
			done := rapid.Int64Range(0, m.Len).Draw(t, "done")
			switch {
			case a.Err != nil:
				a.Copied = done
			case fs.Method == CopyRange && done > 0:
				a.Copied, a.Said = done, done
			case fs.Method == CopyRange:
				a.Copied, a.Said = -1, -1
			}
			return a
		}
		r, err := c.Copy(context.Background(), moves, nil, allow)
		if err != nil {
			t.Fatal(err)
		}
		accounted(t, l, before, moves, r)
	})
}

// TestTooLate: each call is looked at, those that go on with what was done in part as
// well, and what is too late for its call was not begun.
func TestTooLate(t *testing.T) {
	for _, fs := range []FileSystem{sharing, serving} {
		for begun := range 3 {
			l, c := newLoopback(t, fs, 32)
			if fs.Method == CopyRange {
				l.Answer = func(int, Move) Answer { return Answer{Copied: unit, Said: unit} }
			}
			before, moves, asked := bytes.Clone(l.Dest), []Move{{0, 0, 12 * unit}}, 0
			r, err := c.Copy(t.Context(), moves, func() boottime.Instant {
				if asked++; asked > begun {
					return 0
				}
				return boottime.Forever - 1
			}, allow)
			if err != nil || asked != begun+1 || r.Calls != int64(begun) || l.Calls() != begun || len(r.Redo) == 0 {
				t.Errorf("asked %d times: %v, %+v", asked, err, r)
			}
			for _, f := range r.Redo {
				if f.Action != blocks.ActionExpired || !errors.Is(f.Err, boottime.ErrPassed) {
					t.Errorf("%+v", f)
				}
			}
			accounted(t, l, before, moves, r)
		}
	}
}
