package exstore

import (
	"bytes"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
)

// million is a store of a million exceptions in random order, so that hardly
// any two are one run.
var million = sync.OnceValue(func() *image {
	const n = 1 << 20
	m := newImage(4096, 2)
	m.bytes = make([]byte, (m.allocate(n)+1)*4096)
	copy(m.bytes, newImage(4096, 1).bytes)
	for i, old := range rand.New(rand.NewPCG(1, 2)).Perm(2 * n)[:n] {
		m.add(uint64(old), m.allocate(i))
	}
	return m
})

// heap is the memory in use, in bytes.
func heap() int64 {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc)
}

func BenchmarkReadMillion(b *testing.B) {
	m := million()
	before := heap()
	var s *Store
	for b.Loop() {
		var err error
		if s, err = Read(bytes.NewReader(m.bytes), m.size()); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(heap()-before)/(1<<20), "MiB")
	b.ReportMetric(float64(len(s.runs)), "runs")
}

func BenchmarkRereadMillion(b *testing.B) {
	m := million()
	s, err := Read(bytes.NewReader(m.bytes), m.size())
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if s, err = s.Reread(bytes.NewReader(m.bytes)); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkFind(b *testing.B) {
	m := million()
	s, err := Read(bytes.NewReader(m.bytes), m.size())
	if err != nil {
		b.Fatal(err)
	}
	b.Run("random", func(b *testing.B) {
		r := rand.New(rand.NewPCG(3, 4))
		b.ReportAllocs()
		for b.Loop() {
			s.Find(r.Uint64N(1 << 21))
		}
	})
	b.Run("walk", func(b *testing.B) {
		b.ReportAllocs()
		chunk := uint64(0)
		for b.Loop() {
			_, run, _ := s.Find(chunk)
			if chunk += run; chunk >= 1<<21 {
				chunk = 0
			}
		}
	})
}

func TestFindAllocatesNothing(t *testing.T) {
	s := full().mustRead(t)
	if n := testing.AllocsPerRun(100, func() { s.Find(900) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
