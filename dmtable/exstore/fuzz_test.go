package exstore

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/dmcopy/dmcopy/remap"
)

// checkSound fails for what a store must never hold, whatever it was read
// from.
func checkSound(t *testing.T, s *Store) {
	chunks, stride := uint64(s.size/s.chunk), uint64(s.chunk)*32+1
	total, copies := uint64(0), make(map[uint64]bool)
	for i, r := range s.runs {
		if i > 0 && r.old < s.runs[i-1].old+s.runs[i-1].n {
			t.Fatalf("%+v overlaps %+v", r, s.runs[i-1])
		}
		if r.n > chunks || r.new >= chunks || r.old+r.n > uint64(remap.MaxSectors/s.chunk) {
			t.Fatalf("%+v lies outside", r)
		}
		total += r.n
		for at := r.new; at < r.new+min(r.n, 1<<16); at++ {
			if at < 2 || at >= chunks || at%stride == 1 || copies[at] {
				t.Fatalf("%+v: chunk %d", r, at)
			}
			copies[at] = true
		}
	}
	if total != s.count {
		t.Fatalf("%d exceptions, %d in runs", s.count, total)
	}
}

func FuzzRead(f *testing.F) {
	f.Add(newImage(512, 4).bytes, uint8(0))
	f.Add(full().bytes, uint8(0))
	m := newImage(4096, 16)
	m.add(3, 2)
	m.add(4, 3)
	m.add(7, 5)
	f.Add(m.bytes, uint8(0))
	f.Add(m.bytes[:3*4096], uint8(200))
	f.Fuzz(func(t *testing.T, b []byte, beyond uint8) {
		b = b[:len(b)/512*512]
		size := remap.Sector(len(b)/512) + remap.Sector(beyond)
		s, err := Read(bytes.NewReader(b), size)
		if err != nil {
			return
		}
		checkSound(t, s)
		again, err := s.Reread(bytes.NewReader(b))
		if err != nil || !equal(s, again) {
			t.Fatalf("read again: %v", err)
		}
		checkStored(t, s)
	})
}

func checkStored(t *testing.T, s *Store) {
	text, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	var loaded Store
	if err := json.Unmarshal(text, &loaded); err != nil || !equal(s, &loaded) {
		t.Fatalf("%s: %v", text, err)
	}
}

func FuzzLoad(f *testing.F) {
	f.Add([]byte(`{"chunk_size":8,"cow_size":128,"runs":[[3,2,2],[7,5,1]]}`))
	f.Add([]byte(`{"chunk_size":8,"cow_size":128,"runs":[]}`))
	f.Add([]byte(`{"chunk_size":1,"cow_size":18014398509481984,"runs":[[0,2,32],[32,35,32]]}`))
	f.Add([]byte(` { "chunk_size" : 8, "runs" : [ [ 3 , 2 , 1 ] , [ 4 , 3 , 1 ] ], "cow_size" : 128 } `))
	f.Fuzz(func(t *testing.T, text []byte) {
		var s Store
		if json.Unmarshal(text, &s) != nil {
			return
		}
		checkSound(t, &s)
		checkStored(t, &s)
	})
}
