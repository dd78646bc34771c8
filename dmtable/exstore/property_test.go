package exstore

import (
	"encoding/json"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// origin is the size of drawn origins, in chunks: small, so that exceptions
// meet.
const origin = 300

// draw draws a store, exception by exception, and tells what it maps.
func draw(t *rapid.T) (*image, []pair) {
	chunk := rapid.SampledFrom([]int{512, 1024, 4096, 8192}).Draw(t, "chunk")
	m := newImage(chunk, origin+20)
	free := rapid.Permutation(seq(origin)).Draw(t, "origin")
	var pairs []pair
	for n := rapid.IntRange(0, 200).Draw(t, "exceptions"); len(pairs) < n; {
		first := free[0]
		for i := range uint64(rapid.IntRange(1, 6).Draw(t, "run")) {
			at := slices.Index(free, first+i)
			if at < 0 || len(pairs) == n {
				break
			}
			free = slices.Delete(free, at, at+1)
			pairs = append(pairs, pair{first + i, m.allocate(len(pairs))})
		}
	}
	// Copies need not end in the order in which they began.
	if n := len(pairs); n > 1 && rapid.Bool().Draw(t, "shuffle") {
		i := rapid.IntRange(0, n-2).Draw(t, "swap")
		pairs[i], pairs[i+1] = pairs[i+1], pairs[i]
	}
	return m, pairs
}

func seq(n uint64) (s []uint64) {
	for i := range n {
		s = append(s, i)
	}
	return s
}

func model(pairs []pair) map[uint64]uint64 {
	m := make(map[uint64]uint64)
	for _, e := range pairs {
		m[e.old] = e.new
	}
	return m
}

// checkFind asks for every chunk alone: the answer is that of the model, and
// whoever goes from run to run sees the same.
func checkFind(t *rapid.T, s *Store, want map[uint64]uint64) {
	next, previous := uint64(0), found{}
	for chunk := range uint64(origin + 10) {
		got := find(s, chunk)
		at, excepted := want[chunk]
		if got.at != at || got.excepted != excepted || got.run == 0 {
			t.Fatalf("chunk %d: %+v, want %d, %v", chunk, got, at, excepted)
		}
		if chunk < next {
			if got.excepted != previous.excepted || got.excepted && got.at != previous.at+1 || got.run != previous.run-1 {
				t.Fatalf("chunk %d: %+v after %+v", chunk, got, previous)
			}
		} else if chunk > 0 && got.excepted == previous.excepted && (!got.excepted || got.at == previous.at+1) {
			t.Fatalf("chunk %d: %+v continues %+v, which ended too early", chunk, got, previous)
		}
		next, previous = chunk+got.run, got
	}
}

func TestFindProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m, pairs := draw(t)
		for _, e := range pairs {
			m.add(e.old, e.new)
		}
		s := m.mustRead(t)
		if s.Len() != uint64(len(pairs)) {
			t.Fatalf("%d exceptions, want %d", s.Len(), len(pairs))
		}
		checkFind(t, s, model(pairs))
		text, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		var loaded Store
		if err := json.Unmarshal(text, &loaded); err != nil || !equal(s, &loaded) {
			t.Fatalf("%s: %v", text, err)
		}
	})
}

// TestRereadProperty: a store that is read again and again while it grows is
// the one that is read at the end.
func TestRereadProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m, pairs := draw(t)
		s := m.mustRead(t)
		for len(pairs) > 0 {
			n := rapid.IntRange(0, len(pairs)).Draw(t, "appended")
			for _, e := range pairs[:n] {
				m.add(e.old, e.new)
			}
			pairs = pairs[n:]
			if len(pairs) > 0 && n == 0 {
				pairs = pairs[1:]
			}
			now, err := s.Reread(strict{t, m.bytes})
			if err != nil {
				t.Fatal(err)
			}
			if !equal(now, m.mustRead(t)) {
				t.Fatalf("%d exceptions, not what a fresh read finds", now.Len())
			}
			s = now
		}
	})
}
