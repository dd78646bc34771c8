package dispatch_test

import (
	"cmp"
	"context"
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/dmcopy/dmcopy/copydomain"
	"github.com/dmcopy/dmcopy/copydomain/nvme"
	"github.com/dmcopy/dmcopy/dispatch"
	"github.com/dmcopy/dmcopy/internal/dispatch/account"
	"github.com/dmcopy/dmcopy/internal/dispatch/byterange"
	"github.com/dmcopy/dmcopy/internal/dispatch/ends"
	"github.com/dmcopy/dmcopy/internal/dispatch/plan"
	"github.com/dmcopy/dmcopy/remap"
	"github.com/dmcopy/dmcopy/test/fakestack"
)

// builder makes a random machine. The same draws make the same machine again,
// so they are recorded as steps.
type builder struct {
	t         *rapid.T
	m         *fakestack.Machine
	unit      remap.Sector // positions and lengths are multiples of it
	disks     []disk
	made      []disk                // volumes
	parts     []remap.Dev           // partitions
	ciphers   bool                  // among the targets
	disk      remap.Sector          // of a disk, if not a usual one
	pairs     map[[2]remap.Dev]bool // that a command can span
	crossMode copydomain.CrossNamespace
}

// disk is a disk with room from next on.
type disk struct {
	dev        remap.Dev
	next, size remap.Sector
}

// draw is rapid's choice between two numbers, both included.
func (b *builder) draw(what string, low, high int) int {
	return rapid.IntRange(low, high).Draw(b.t, what)
}

func (b *builder) machine() {
	b.m = fakestack.New(uint64(b.draw("seed", 0, 1<<20)))
	block := rapid.SampledFrom([]int{512, 4096}).Draw(b.t, "block")
	b.unit = remap.Sector(block / sector)
	size := cmp.Or(b.disk, 1<<12)
	for range b.draw("namespaces", 1, 3) {
		n := fakestack.Namespace{Sectors: size, Block: block, Limits: nvme.Limits{
			RangeBlocks:   uint32(b.draw("mssrl", 0, 64)),
			CommandBlocks: uint32(b.draw("mcl", 1, 300)),
			Ranges:        uint16(b.draw("ranges", 1, 8)),
		}}
		if len(b.disks) > 0 && rapid.Bool().Draw(b.t, "beside") {
			n.Beside = b.disks[0].dev
		}
		b.disks = append(b.disks, disk{dev: b.m.AddNamespace(n), size: size})
	}
	b.crossMode = rapid.SampledFrom([]copydomain.CrossNamespace{copydomain.CrossAsFound, copydomain.CrossEnable}).Draw(b.t, "cross-namespace mode")
	b.m.CrossNamespaces(b.crossMode, nil)
	b.disks = append(b.disks, disk{dev: b.m.AddDisk(size, block), size: size})
}

// room takes n sectors of a disk, with a gap before them that nobody may touch.
func (b *builder) room(n remap.Sector) fakestack.Place {
	at := b.draw("disk", 0, len(b.disks)-1)
	for range b.disks {
		d := &b.disks[at]
		start := d.next + remap.Sector(b.draw("gap", 0, 3))*b.unit
		if start+n < d.size {
			d.next = start + n
			return fakestack.Place{Dev: d.dev, Start: start}
		}
		at = (at + 1) % len(b.disks)
	}
	b.t.Skip("the disks are full")
	return fakestack.Place{}
}

// within makes a device of at least n sectors, and says where in it to be.
func (b *builder) within(n remap.Sector, depth int, write bool) fakestack.Place {
	switch b.draw("below", 0, 4) {
	case 0:
		if depth > 0 {
			before := remap.Sector(b.draw("before", 0, 4)) * b.unit
			return fakestack.Place{Dev: b.volume(before+n, depth-1, write), Start: before}
		}
	case 1:
		p := b.room(n)
		b.parts = append(b.parts, b.m.AddPartition(p.Dev, p.Start, n))
		return fakestack.Place{Dev: b.parts[len(b.parts)-1]}
	}
	return b.room(n)
}

// volume makes a mapped device of n sectors.
func (b *builder) volume(n remap.Sector, depth int, write bool) remap.Dev {
	dev := b.m.AddMapped(b.segments(n, depth, write)...)
	b.made = append(b.made, disk{dev: dev, size: n})
	return dev
}

// segments makes a table of n sectors.
func (b *builder) segments(n remap.Sector, depth int, write bool) []fakestack.Segment {
	var segments []fakestack.Segment
	for rest := n; rest > 0; {
		length := min(rest, remap.Sector(b.draw("segment", 1, 64))*b.unit)
		if len(segments) == 5 {
			length = rest
		}
		target, length := b.target(length, depth, write)
		segments = append(segments, fakestack.Segment{Len: length, Target: target})
		rest -= length
	}
	return segments
}

func (b *builder) target(n remap.Sector, depth int, write bool) (fakestack.Target, remap.Sector) {
	switch b.draw("target", 0, 9) {
	case 7:
		return fakestack.Scramble{Place: b.room(n), Len: n}, n
	case 1, 2, 3:
		width := remap.Sector(b.draw("stripes", 1, 3))
		chunk := remap.Sector(b.draw("chunk", 1, 8)) * b.unit
		rows := n / (width * chunk)
		if rows == 0 {
			break
		}
		t := fakestack.Striped{Chunk: chunk}
		for range width {
			t.Legs = append(t.Legs, b.within(rows*chunk, depth, write))
		}
		return t, rows * width * chunk
	case 4:
		if !write {
			return fakestack.Zero{}, n
		}
	case 5:
		stale := rapid.SampledFrom([][]bool{nil, {true, false}, {false, true}}).Draw(b.t, "stale")
		mirror := fakestack.Mirror{Legs: []fakestack.Place{b.room(n), b.room(n)}, Stale: stale}
		return fakestack.Linear{Dev: b.m.AddMirror(n, mirror)}, n
	case 6:
		if b.ciphers {
			return fakestack.Crypt{Place: b.room(n), Key: b.key(), IV: uint64(b.unit) * uint64(b.draw("first vector", 0, 1))}, n
		}
	}
	return fakestack.Linear(b.within(n, depth, write)), n
}

// key is one of two.
func (b *builder) key() fakestack.Key {
	blocks := []remap.Sector{1, 1, 1, b.unit} // large ones take long
	return fakestack.Key{Secret: uint64(b.draw("key", 1, 2)), Block: rapid.SampledFrom(blocks).Draw(b.t, "cipher block")}
}

// ranges chooses runs of both volumes that do not overlap.
func (b *builder) ranges(size remap.Sector) []byterange.Range {
	if rapid.Bool().Draw(b.t, "everything") {
		return nil
	}
	var ranges []byterange.Range
	units := int(size / b.unit)
	for at := b.draw("first", 0, units-1); at < units && len(ranges) < 4; {
		length := b.draw("length", 1, units-at)
		src := b.draw("source", 0, units-length)
		ranges = append(ranges, byterange.Range{
			Src: (remap.Sector(src) * b.unit).Bytes(), Dst: (remap.Sector(at) * b.unit).Bytes(), Len: (remap.Sector(length) * b.unit).Bytes(),
		})
		at += length + b.draw("skip", 0, 3)
	}
	return rapid.Permutation(ranges).Draw(b.t, "order")
}

// offloadable counts, sector by sector, what could be copied by a command.
func (b *builder) offloadable(src, dst remap.Dev, ranges []byterange.Range) (bytes int64) {
	for _, r := range ranges {
		for off := int64(0); off < r.Len; off += sector {
			from, ok := b.m.Direct(src, remap.Sector((r.Src+off)/sector), false)
			to, also := b.m.Direct(dst, remap.Sector((r.Dst+off)/sector), true)
			if ok && also && b.spans(from.Dev, to.Dev) {
				bytes += sector
			}
		}
	}
	return bytes
}

func (b *builder) spans(src, dst remap.Dev) bool {
	key := [2]remap.Dev{src, dst}
	able, known := b.pairs[key]
	if !known {
		pair := b.m.Pair(b.t.Context(), b.node(src), b.node(dst))
		able = pair.Method != ""
		if able && src != dst && pair.Method != copydomain.NVMeCopyXNS {
			b.t.Fatalf("from one disk to another by %s", pair.Method)
		}
		if b.pairs == nil {
			b.pairs = make(map[[2]remap.Dev]bool)
		}
		b.pairs[key] = able
	}
	return able
}

func (b *builder) node(dev remap.Dev) *remap.Node {
	st, err := b.m.Stack(b.t.Context(), dev)
	if err != nil {
		b.t.Fatal(err)
	}
	return st.Node(dev)
}

// TestOffloadEqualsHost: whatever the stacks, a copy that offloads leaves the
// same bytes on every disk as one that does not, and both are what the source
// held; and exactly those bytes are offloaded that can be.
func TestOffloadEqualsHost(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := &builder{t: t}
		b.machine()
		size := remap.Sector(b.draw("size", 1, 100)) * b.unit
		src := b.volume(size, 2, false)
		dst := b.volume(size, 2, true)
		ranges := b.ranges(size)
		opts := dispatch.Options{
			Window:   int64(b.draw("window", 1, 1024)) * 4096,
			InFlight: b.draw("in flight", 1, 4),
			Sparse:   rapid.Bool().Draw(t, "sparse"),
			Verify:   rapid.SampledFrom([]account.Verify{account.VerifyNone, account.VerifySample, account.VerifyFull}).Draw(t, "verify"),
		}
		all := ranges
		if all == nil {
			all = []byterange.Range{{Len: size.Bytes()}}
		}
		want := b.m.Expect(src, dst, all...)
		job := dispatch.Job{Src: b.m.Endpoint(src), Dst: b.m.Endpoint(dst), Ranges: ranges}
		planned := planOf(t, b.m, job)

		rep, err := copyOf(t, b.m, src, dst, opts, ranges...)
		if err != nil {
			t.Fatal(err)
		}
		copied(t, want)
		b.m.Crash()
		if err := want.Copied(); err != nil {
			t.Fatalf("after a crash: %v", err)
		}
		if possible := b.offloadable(src, dst, all); rep.Offloaded != possible || planned.offloaded != possible {
			t.Fatalf("%d bytes were planned and %d offloaded of %d that could be: %+v", planned.offloaded, rep.Offloaded, possible, rep)
		}
		if rep.Total != planned.total || rep.Verified != opts.Verify {
			t.Fatalf("%d bytes were planned: %+v", planned.total, rep)
		}

		// Once more with other contents, through the host.
		for i, d := range b.disks {
			b.m.Fill(d.dev, 0, restamped(b.m, i, d.size))
		}
		want = b.m.Expect(src, dst, all...)
		opts.Offload = plan.OffloadNever
		if rep, err = copyOf(t, b.m, src, dst, opts, ranges...); err != nil {
			t.Fatal(err)
		}
		copied(t, want)
		if rep.Offloaded != 0 || rep.Commands != 0 {
			t.Fatalf("policy never: %+v", rep)
		}
	})
}

// restamped is new contents for a disk. The legs of mirrors differ then, which
// the host reads as md does: from the first leg in sync.
func restamped(m *fakestack.Machine, number int, size remap.Sector) []byte {
	data := make([]byte, size.Bytes())
	for s := range int64(size) {
		m.Stamp(data[s*sector:][:sector], uint64(number+100), s)
	}
	return data
}

// planned sums a plan up.
type planned struct{ total, offloaded int64 }

// planOf walks a plan and checks that it covers every range once, in order.
func planOf(t rapid.TB, m *fakestack.Machine, job dispatch.Job) (sum planned) {
	ranges, err := ends.Ranges(job.Src, job.Dst, job.Ranges)
	if err != nil {
		t.Fatal(err)
	}
	at := int64(0)
	for s, err := range dispatch.New(m).Plan(context.Background(), job, dispatch.Options{}) {
		if err != nil {
			t.Fatal(err)
		}
		if len(ranges) == 0 || s.SrcOff != ranges[0].Src+at || s.DstOff != ranges[0].Dst+at || s.Len <= 0 || at+s.Len > ranges[0].Len {
			t.Fatalf("step %+v does not follow byte %d of %v", s, at, ranges)
		}
		byDevice := s.Method == account.NVMeCopy || s.Method == account.NVMeCopyXNS
		if byDevice != (s.Reason == "") {
			t.Fatalf("step by %s with reason %q", s.Method, s.Reason)
		}
		sum.total += s.Len
		if byDevice {
			sum.offloaded += s.Len
		}
		if at += s.Len; at == ranges[0].Len {
			ranges, at = ranges[1:], 0
		}
	}
	if len(ranges) > 0 {
		t.Fatal(fmt.Sprint("not planned: ", ranges))
	}
	return sum
}
