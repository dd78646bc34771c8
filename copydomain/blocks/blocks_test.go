package blocks

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

func TestSortByDestination(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var pieces []Piece
		dst := uint64(100)
		for range rapid.IntRange(0, 10).Draw(t, "pieces") {
			n := rapid.Uint64Range(1, 3).Draw(t, "blocks")
			pieces = append(pieces, piece(rapid.Uint64Range(0, 6).Draw(t, "source"), dst, n))
			dst += n + rapid.Uint64Range(0, 1).Draw(t, "gap")
		}
		want := sources(pieces)
		got := SortByDestination(rapid.Permutation(pieces).Draw(t, "order"))
		if fmt.Sprint(sources(got)) != fmt.Sprint(want) {
			t.Fatalf("%v became %v", pieces, got)
		}
		for i := 1; i < len(got); i++ {
			last, p := got[i-1], got[i]
			if last.DstLBA+last.Blocks > p.DstLBA || last.DstLBA+last.Blocks == p.DstLBA && last.SrcLBA+last.Blocks == p.SrcLBA {
				t.Fatalf("out of order, or not joined: %v", got)
			}
		}
	})
}

func TestQueue(t *testing.T) {
	for _, p := range []Piece{piece(1, 2, 0), piece(^uint64(0), 2, 1), piece(1, ^uint64(0)-1, 3)} {
		if _, err := NewQueue([]Piece{p}); !errors.Is(err, ErrInvalid) {
			t.Errorf("%v: %v", p, err)
		}
	}
	q, err := NewQueue([]Piece{piece(0, 100, 5), piece(50, 200, 2)})
	if err != nil {
		t.Fatal(err)
	}
	q.Take(3)
	if q.Front() != piece(3, 103, 2) || fmt.Sprint(q.Rest(nil)) != "[3+2->103 50+2->200]" {
		t.Error(q)
	}
	q.Take(2)
	q.Take(2)
	if !q.Empty() || len(q.Rest(nil)) != 0 {
		t.Error(q)
	}
}

func TestUnanswered(t *testing.T) {
	notIssued := func(err error) error { return fmt.Errorf("%w: %w", ErrNotIssued, err) }
	before := map[syscall.Errno]Action{unix.EACCES: ActionNotSupported}
	for name, tc := range map[string]struct {
		err       error
		action    Action
		reason    string
		untouched bool
	}{
		"EINTR":                {unix.EINTR, ActionFence, "device:errno-eintr", false},
		"in the table":         {unix.EACCES, ActionFence, "device:errno-eacces", false},
		"without a name":       {syscall.Errno(4000), ActionFence, "device:errno-4000", false},
		"timeout":              {ErrTimeout, ActionFence, "device:timeout", false},
		"something else":       {errDevice, ActionFence, "device:no-answer", false},
		"canceled in flight":   {context.Canceled, ActionFence, "device:no-answer", false},
		"in the table, before": {notIssued(unix.EACCES), ActionNotSupported, "device:errno-eacces", true},
		"another, before":      {notIssued(unix.EINTR), ActionEmulate, "device:errno-eintr", true},
		"canceled before":      {notIssued(context.Canceled), ActionCanceled, "canceled", true},
		"deadline before":      {notIssued(context.DeadlineExceeded), ActionCanceled, "canceled", true},
		"something, before":    {notIssued(errDevice), ActionEmulate, "device:not-issued", true},
	} {
		o := Unanswered(tc.err, before)
		if o.Action != tc.action || o.Reason != tc.reason || o.Untouched != tc.untouched || o.Done != 0 || !errors.Is(o.Err, tc.err) {
			t.Errorf("%s: %+v", name, o)
		}
	}
}

func TestActions(t *testing.T) {
	names := make(map[string]bool)
	for a := range ActionFence + 1 {
		if names[a.String()] || strings.Contains(a.String(), "(") {
			t.Errorf("%d: %v", a, a)
		}
		names[a.String()] = true
		if a.Again() && a.Stops() {
			t.Errorf("%v is tried again and stops", a)
		}
	}
	if s := (ActionFence + 1).String(); s != "action(14)" {
		t.Error(s)
	}
}

func TestRefuse(t *testing.T) {
	r := &Result{Redo: []Failure{{Piece: piece(0, 300, 1)}}}
	r.Refuse([]Piece{piece(9, 400, 1), piece(8, 200, 1)}, Refused(errDevice))
	if fmt.Sprint(r.Redo[0].Piece, r.Redo[1].Piece, r.Redo[2].Piece) != "8+1->200 0+1->300 9+1->400" || !r.Redo[0].Untouched || r.Redo[1].Untouched {
		t.Errorf("%+v", r.Redo)
	}
}
