package blocks

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
)

func TestClaimRefuses(t *testing.T) {
	var a, b RangeLocks
	for name, tc := range map[string]struct {
		pieces []Piece
		within error // nil: only between two devices it is fine
		two    error
	}{
		"empty piece":              {[]Piece{piece(1, 150, 0)}, ErrInvalid, ErrInvalid},
		"wraps":                    {[]Piece{piece(1, ^uint64(0), 2)}, ErrInvalid, ErrInvalid},
		"source wraps":             {[]Piece{piece(^uint64(0), 1, 2)}, ErrInvalid, ErrInvalid},
		"source past the end":      {[]Piece{piece(199, 150, 2)}, ErrOutOfRange, ErrOutOfRange},
		"destination past the end": {[]Piece{piece(1, 199, 2)}, ErrOutOfRange, ErrOutOfRange},
		"same destination":         {[]Piece{piece(1, 150, 5), piece(50, 154, 5)}, ErrOverlap, ErrOverlap},
		"the same piece twice":     {[]Piece{piece(1, 150, 5), piece(1, 150, 5)}, ErrOverlap, ErrOverlap},
		"onto itself":              {[]Piece{piece(10, 10, 1)}, ErrOverlap, nil},
		"onto itself, moved":       {[]Piece{piece(10, 15, 10)}, ErrOverlap, nil},
		"one reads what one wrote": {[]Piece{piece(10, 150, 10), piece(155, 100, 1)}, ErrOverlap, nil},
		"one source for several":   {[]Piece{piece(1, 150, 5), piece(3, 160, 5), piece(1, 155, 5)}, nil, nil},
	} {
		for src, want := range map[*RangeLocks]error{&b: tc.within, &a: tc.two} {
			sorted, release, err := Claim(Side{src, 200}, Side{&b, 200}, tc.pieces)
			if !errors.Is(err, want) || (err == nil) != (want == nil) || (release == nil) != (err != nil) {
				t.Errorf("%s: %v, want %v", name, err, want)
			}
			if err == nil {
				if fmt.Sprint(sources(sorted)) != fmt.Sprint(sources(tc.pieces)) {
					t.Errorf("%s became %v", name, sorted)
				}
				release()
			}
		}
	}
	if len(a.active)+len(b.active) != 0 {
		t.Error("what is released, or refused, stays")
	}
}

// Batches with a device in common do not meet, as far as one writes what the other
// touches; nor do they meet what is fenced.
func TestRangeLocksAreByDevice(t *testing.T) {
	var a, b RangeLocks
	sides := map[string][2]*RangeLocks{"a to b": {&a, &b}, "a to a": {&a, &a}, "b to b": {&b, &b}, "b to a": {&b, &a}}
	tries := []struct {
		by       string
		piece    Piece
		underWay bool // refused while the batch runs
		fenced   bool // refused when it is given up
	}{
		{"a to b", piece(0, 153, 1), true, true},
		{"b to b", piece(0, 153, 1), true, true},
		{"b to b", piece(153, 0, 1), true, true},
		{"b to a", piece(153, 0, 1), true, true},
		{"b to a", piece(0, 103, 1), true, false}, // writes what is read
		{"a to a", piece(0, 103, 1), true, false},
		{"a to a", piece(103, 153, 1), false, false}, // block 153 of the other device
		{"b to a", piece(103, 153, 1), false, false},
		{"b to b", piece(103, 20, 1), false, false},
		{"a to b", piece(103, 21, 1), false, false},
	}
	claim := func(by string, p ...Piece) (func(), error) {
		_, release, err := Claim(Side{sides[by][0], 200}, Side{sides[by][1], 200}, p)
		return release, err
	}
	check := func(want error, refused func(i int) bool) {
		t.Helper()
		for i, try := range tries {
			release, err := claim(try.by, try.piece)
			if errors.Is(err, want) != refused(i) || err != nil && !refused(i) {
				t.Errorf("%s %v: %v", try.by, try.piece, err)
			}
			if err == nil {
				release()
			}
		}
	}
	release, err := claim("a to b", piece(100, 150, 8))
	if err != nil {
		t.Fatal(err)
	}
	check(ErrOverlap, func(i int) bool { return tries[i].underWay })
	ended := make(chan struct{})
	b.fence(&Fence{spans: []Span{{150, 158}}, ended: ended})
	release()
	check(ErrFenced, func(i int) bool { return tries[i].fenced })
	close(ended)
	check(ErrFenced, func(int) bool { return false })
}

func TestConcurrentBatchesDoNotMeet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(2)
		hold := make(chan struct{})
		f.fault = func(n int) fault {
			if n == 0 {
				return fault{hold: hold}
			}
			return fault{}
		}
		first := make(chan *Result, 1)
		go func() { first <- mustCopy(t, f, t.Context(), piece(0, 150, 8)) }()
		synctest.Wait()
		for name, p := range map[string]Piece{
			"same destination":     piece(50, 154, 1),
			"reads what it writes": piece(154, 50, 1),
			"writes what it reads": piece(50, 4, 1),
		} {
			if _, err := f.copy(t.Context(), p); !errors.Is(err, ErrOverlap) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if res := mustCopy(t, f, t.Context(), piece(0, 160, 8)); len(res.Done) != 1 {
			t.Errorf("a batch beside it: %+v", res)
		}
		close(hold)
		if res := <-first; len(res.Done) != 1 {
			t.Errorf("%+v", res)
		}
	})
}
