package thinmeta

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// mappings of the large pool. Every other virtual block is mapped, so that no
// two are one run: nothing is worse.
const mappings = 10_000_000

// large is a pool with one large device, in which the blocks of data are in
// random order.
var large = sync.OnceValue(func() *image {
	const leaves = (mappings + 251) / 252
	m := newImage(leaves+leaves/252+16, 252)
	m.dataBlocks = 1 << 24
	r := rand.New(rand.NewPCG(1, 2))
	var level, entries []entry
	values := make([]byte, 252*8)
	for i := range uint64(mappings) {
		value := values[i%252*8:][:8]
		binary.LittleEndian.PutUint64(value, r.Uint64N(m.dataBlocks)<<24)
		if entries = append(entries, entry{2 * i, value}); len(entries) == 252 || i == mappings-1 {
			level = append(level, entry{entries[0].key, u64(uint64(m.node(2, entries, 8)))})
			entries = entries[:0]
		}
	}
	for len(level) > 1 {
		var parents []entry
		for at := 0; at < len(level); at += 252 {
			children := level[at:min(at+252, len(level))]
			parents = append(parents, entry{children[0].key, u64(uint64(m.node(1, children, 8)))})
		}
		level = parents
	}
	m.deviceAt(1, 0, binary.LittleEndian.Uint64(level[0].value), mappings)
	m.finish()
	return m
})

// peak is the most memory that the process has had, in MiB, since it was last
// forgotten.
func peak(b *testing.B) float64 {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		b.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	kilobytes, err := strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		b.Fatal(err)
	}
	return float64(kilobytes) / 1024
}

// forget sets the peak back to what is in use now (proc(5), clear_refs).
func forget(b *testing.B) {
	debug.FreeOSMemory()
	if err := os.WriteFile("/proc/self/clear_refs", []byte("5"), 0); err != nil {
		b.Fatal(err)
	}
}

func readLarge(b *testing.B, m *image) *Map {
	r := bytes.NewReader(m.bytes)
	super, err := ReadSuper(r, 0)
	if err != nil {
		b.Fatal(err)
	}
	got, _, err := Device(r, super, 1)
	if err != nil {
		b.Fatal(err)
	}
	return got
}

func BenchmarkDeviceTenMillion(b *testing.B) {
	m := large()
	forget(b)
	before := peak(b)
	var got *Map
	for b.Loop() {
		got = readLarge(b, m)
	}
	b.ReportMetric(peak(b)-before, "peak-MiB")
	b.ReportMetric(float64(got.Runs()), "runs")
	runtime.KeepAlive(got)
}

func BenchmarkFind(b *testing.B) {
	m := readLarge(b, large())
	b.Run("random", func(b *testing.B) {
		r := rand.New(rand.NewPCG(3, 4))
		b.ReportAllocs()
		for b.Loop() {
			m.Find(r.Uint64N(2 * mappings))
		}
	})
	b.Run("walk", func(b *testing.B) {
		b.ReportAllocs()
		block := uint64(0)
		for b.Loop() {
			_, run, _, _ := m.Find(block)
			if block += run; block >= 2*mappings-1 {
				block = 0
			}
		}
	})
}

func TestFindAllocatesNothing(t *testing.T) {
	image := small()
	image.finish()
	m, _ := image.mustRead(t, 0, 1)
	if n := testing.AllocsPerRun(100, func() { m.Find(2) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
