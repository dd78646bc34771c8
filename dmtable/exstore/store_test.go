package exstore

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"math"
	"testing"

	"github.com/dmcopy/dmcopy/remap"
)

// found is one answer of Find.
type found struct {
	at, run  uint64
	excepted bool
}

func find(s *Store, chunk uint64) found {
	at, run, excepted := s.Find(chunk)
	return found{at, run, excepted}
}

// TestGolden: snapshot of chunks of 8 sectors with the exceptions 3->2, 4->3
// and 7->5, as a running kernel maps it.
func TestGolden(t *testing.T) {
	m := newImage(4096, 16)
	for _, e := range []pair{{3, 2}, {4, 3}, {7, 5}} {
		m.add(e.old, e.new)
	}
	s := m.mustRead(t)
	for chunk, want := range map[uint64]found{
		0:              {0, 3, false},
		2:              {0, 1, false},
		3:              {2, 2, true},
		4:              {3, 1, true},
		5:              {0, 2, false},
		7:              {5, 1, true},
		8:              {0, math.MaxUint64 - 8, false},
		math.MaxUint64: {0, 0, false},
	} {
		if got := find(s, chunk); got != want {
			t.Errorf("chunk %d: %+v, want %+v", chunk, got, want)
		}
	}
	if s.Len() != 3 || s.ChunkSize() != 8 || s.Size() != 128 {
		t.Errorf("%d exceptions, chunks of %d on %d sectors", s.Len(), s.ChunkSize(), s.Size())
	}
}

// TestGeometry: where areas are, as seen on disk.
func TestGeometry(t *testing.T) {
	for _, v := range []struct {
		chunk          remap.Sector
		perArea        uint64
		areas          [3]uint64
		first, another uint64
	}{
		{8, 256, [3]uint64{1, 258, 515}, 2, 259},
		{32, 1024, [3]uint64{1, 1026, 2051}, 2, 1027},
	} {
		g := geometry{v.chunk, remap.MaxSectors}
		for k, want := range v.areas {
			if got := g.area(uint64(k)); got != want {
				t.Errorf("chunks of %d: area %d is at %d, want %d", v.chunk, k, got, want)
			}
			if g.checkRun(run{0, want, 1}) == nil || g.checkRun(run{0, want - 1, 2}) == nil {
				t.Errorf("chunks of %d: copies in the area at %d", v.chunk, want)
			}
		}
		m := newImage(int(v.chunk)*512, 3)
		if g.perArea() != v.perArea || m.allocate(0) != v.first || m.allocate(int(v.perArea)) != v.another {
			t.Errorf("chunks of %d: %d in an area", v.chunk, g.perArea())
		}
	}
}

// full is a store whose first area is full, on a device with room for more.
func full() *image {
	m := newImage(512, 100)
	for i := range 32 {
		m.add(uint64(1000-7*i), m.allocate(i))
	}
	return m
}

func TestAreas(t *testing.T) {
	m := full()
	if s := m.mustRead(t); s.Len() != 32 || len(s.runs) != 32 {
		t.Errorf("%d exceptions, %d runs", s.Len(), len(s.runs))
	}
	m.add(5, m.allocate(32))
	s := m.mustRead(t)
	if want := (found{m.allocate(32), 1, true}); s.Len() != 33 || find(s, 5) != want {
		t.Errorf("%d exceptions, 5 is at %+v", s.Len(), find(s, 5))
	}
}

// TestNothingAfterTheEnd: what stands behind the end of the list does not count.
func TestNothingAfterTheEnd(t *testing.T) {
	m := newImage(512, 40)
	m.add(1, 2)
	m.n++
	m.add(8, 3)
	m.add(1, 1)
	if s := m.mustRead(t); s.Len() != 1 {
		t.Errorf("%d exceptions", s.Len())
	}
}

func put32(at int, v uint32) func(*image) {
	return func(m *image) { binary.LittleEndian.PutUint32(m.bytes[at:], v) }
}

func put(old, new uint64) func(*image) { return func(m *image) { m.add(old, new) } }

func TestRefused(t *testing.T) {
	for name, v := range map[string]struct {
		breaks func(*image)
		want   error
	}{
		"magic":               {put32(0, 0x70416e54), ErrFormat},
		"empty device":        {put32(0, 0), ErrFormat},
		"given up":            {put32(4, 0), ErrInvalid},
		"validity":            {put32(4, 2), ErrFormat},
		"version":             {put32(8, 2), ErrFormat},
		"no chunk size":       {put32(12, 0), ErrFormat},
		"odd chunk size":      {put32(12, 3), ErrFormat},
		"huge chunk size":     {put32(12, 1<<22), ErrFormat},
		"negative chunk size": {put32(12, 1<<31), ErrFormat},
		"chunk of the device": {put32(12, 128), ErrTruncated},
		"into an area":        {put(1, 1), ErrFormat},
		"into the next area":  {put(1, 34), ErrFormat},
		"beyond the device":   {put(1, 100), ErrFormat},
		"far beyond":          {put(1, math.MaxUint64), ErrFormat},
		"from nowhere":        {put(1<<54, 3), ErrFormat},
		"copied twice":        {func(m *image) { m.add(1, 3); m.add(1, 5) }, ErrFormat},
		"run copied twice":    {func(m *image) { m.add(1, 3); m.add(2, 4); m.add(2, 6) }, ErrFormat},
		"to the same place":   {func(m *image) { m.add(1, 3); m.add(9, 3) }, ErrFormat},
		"no next area":        {func(m *image) { *m = *full(); m.bytes = m.bytes[:34*512] }, ErrTruncated},
		"short device":        {func(m *image) { m.bytes = m.bytes[:512] }, ErrTruncated},
	} {
		m := newImage(512, 100)
		v.breaks(m)
		s, err := Read(bytes.NewReader(m.bytes), m.size())
		if !errors.Is(err, v.want) || (err == nil) != (s != nil) {
			t.Errorf("%s: %v", name, err)
		}
		if wrapped := new(Error); err != nil && !errors.As(err, &wrapped) {
			t.Errorf("%s: %v is not wrapped", name, err)
		}
	}
}

func TestReadErrors(t *testing.T) {
	m := full()
	for _, size := range []remap.Sector{-1, 0, remap.MaxSectors + 1} {
		if _, err := Read(strict{t, m.bytes}, size); !errors.Is(err, ErrFormat) {
			t.Errorf("size %d: %v", size, err)
		}
	}
	if _, err := Read(bytes.NewReader(m.bytes), m.size()+8); err != nil {
		t.Errorf("shorter than it says, but not where it matters: %v", err)
	}
	if _, err := Read(bytes.NewReader(m.bytes[:512]), m.size()); !errors.Is(err, ErrTruncated) {
		t.Errorf("shorter than it says: %v", err)
	}
	for _, from := range []int64{0, 4096, 16384} {
		if _, err := Read(broken{bytes.NewReader(m.bytes), from}, m.size()); !errors.Is(err, errBroken) {
			t.Errorf("broken from %d: %v", from, err)
		}
	}
}

func TestReread(t *testing.T) {
	m := full()
	first := m.mustRead(t)
	m.add(5, m.allocate(32))
	second, err := first.Reread(strict{t, m.bytes})
	if err != nil || second.Len() != 33 || first.Len() != 32 {
		t.Fatalf("%v, %v", second, err)
	}
	if _, _, excepted := first.Find(5); excepted {
		t.Error("the older store has changed")
	}
	// The second area is full and confirmed: only the beginning of the list is
	// read again, and what comes behind it.
	m = newImage(512, 200)
	for i := range 65 {
		m.add(uint64(1000+i), m.allocate(i))
	}
	first = m.mustRead(t)
	if second, err = first.Reread(strict{t, m.bytes}); err != nil {
		t.Fatal(err)
	}
	m.bytes[34*512] ^= 1
	third, err := second.Reread(strict{t, m.bytes})
	if err != nil || !equal(second, third) {
		t.Errorf("%v, %v", third, err)
	}
	if _, err := first.Reread(strict{t, m.bytes}); !errors.Is(err, ErrChanged) {
		t.Errorf("an area that was written while it was read: %v", err)
	}
	m.bytes[512+16] ^= 1
	if _, err := second.Reread(strict{t, m.bytes}); !errors.Is(err, ErrChanged) {
		t.Errorf("another list: %v", err)
	}
}

func TestRereadNotices(t *testing.T) {
	for name, v := range map[string]struct {
		change func(*image)
		want   error
	}{
		"other origin":     {func(m *image) { m.bytes[512] ^= 1 }, ErrChanged},
		"other place":      {func(m *image) { m.bytes[512+8] = 20 }, ErrChanged},
		"merged":           {func(m *image) { clear(m.bytes[512+16 : 512+32]) }, ErrChanged},
		"other chunk size": {func(m *image) { m.bytes[12] = 2 }, ErrChanged},
		"given up":         {func(m *image) { m.bytes[4] = 0 }, ErrInvalid},
		"copied twice":     {put(1000, 10), ErrFormat},
		"out of range":     {put(1, 4000), ErrFormat},
	} {
		m := newImage(512, 100)
		m.add(1000, 2)
		m.add(2000, 3)
		s := m.mustRead(t)
		v.change(m)
		if _, err := s.Reread(strict{t, m.bytes}); !errors.Is(err, v.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestJSON(t *testing.T) {
	m := newImage(4096, 16)
	for _, e := range []pair{{3, 2}, {4, 3}, {7, 5}} {
		m.add(e.old, e.new)
	}
	text, err := json.Marshal(m.mustRead(t))
	const want = `{"chunk_size":8,"cow_size":128,"runs":[[3,2,2],[7,5,1]]}`
	if err != nil || string(text) != want {
		t.Errorf("%s, %v", text, err)
	}
	var s Store
	if err := json.Unmarshal(text, &s); err != nil || !equal(&s, m.mustRead(t)) {
		t.Errorf("%+v, %v", s, err)
	}
	m.add(8, 6)
	if now, err := s.Reread(strict{t, m.bytes}); err != nil || !equal(now, m.mustRead(t)) {
		t.Errorf("%+v, %v", now, err)
	}
}

func TestJSONRefused(t *testing.T) {
	for _, text := range []string{
		`null`, `{}`, `[]`, `{"chunk_size":8,"cow_size":128}`,
		`{"chunk_size":8,"cow_size":128,"runs":null}`,
		`{"chunk_size":8,"cow_size":128,"runs":[],"more":1}`,
		`{"chunk_size":7,"cow_size":128,"runs":[]}`,
		`{"chunk_size":8,"cow_size":8,"runs":[]}`,
		`{"chunk_size":8,"cow_size":-8,"runs":[]}`,
		`{"chunk_size":8,"cow_size":128,"runs":[[3,2]]}`,
		`{"chunk_size":8,"cow_size":128,"runs":[[3,2,1,1]]}`,
		`{"chunk_size":8,"cow_size":128,"runs":[[3,2,null]]}`,
		`{"chunk_size":8,"cow_size":128,"runs":[[3,2,0]]}`,
		`{"chunk_size":8,"cow_size":128,"runs":[[3,1,1]]}`,
		`{"chunk_size":8,"cow_size":128,"runs":[[3,0,1]]}`,
		`{"chunk_size":8,"cow_size":128,"runs":[[3,2,15]]}`,
		`{"chunk_size":8,"cow_size":128,"runs":[[18014398509481983,2,1]]}`,
		`{"chunk_size":8,"cow_size":128,"runs":[[3,2,18446744073709551615]]}`,
		`{"chunk_size":8,"cow_size":128,"runs":[[3,2,1],[3,4,1]]}`,
		`{"chunk_size":8,"cow_size":128,"runs":[[3,2,1],[2,4,1]]}`,
		`{"chunk_size":8,"cow_size":128,"runs":[[3,2,2],[4,5,1]]}`,
		`{"chunk_size":8,"cow_size":128,"runs":[[3,2,2],[9,3,1]]}`,
	} {
		s := new(Store)
		if err := json.Unmarshal([]byte(text), s); err == nil {
			t.Errorf("%s is accepted", text)
		}
		if s.Len() != 0 {
			t.Errorf("%s changes the store", text)
		}
	}
}
