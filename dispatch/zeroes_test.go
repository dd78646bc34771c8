package dispatch_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/dmcopy/dmcopy/copydomain/files"
	"github.com/dmcopy/dmcopy/dispatch"
	"github.com/dmcopy/dmcopy/emulation"
	"github.com/dmcopy/dmcopy/internal/dispatch/account"
	"github.com/dmcopy/dmcopy/internal/dispatch/byterange"
	"github.com/dmcopy/dmcopy/internal/dispatch/ends"
	"github.com/dmcopy/dmcopy/internal/dispatch/machine"
	"github.com/dmcopy/dmcopy/internal/dispatch/plan"
	"github.com/dmcopy/dmcopy/remap"
	"github.com/dmcopy/dmcopy/test/fakestack"
)

// thins are two thin volumes of a size, each in a pool of its own, on disks that cannot
// copy. The destination is a part of its volume, from shift on.
type thins struct {
	*fakestack.Machine
	src, dst   remap.Dev
	from, to   *fakestack.Thin
	size       remap.Sector
	shift, top remap.Sector
}

func newThins(size, shift, srcBlock, dstBlock, dstBlocks remap.Sector) *thins {
	m := fakestack.New(7)
	r := &thins{Machine: m, size: size, shift: shift, top: size + shift}
	thin := func(n, block, blocks remap.Sector) (*fakestack.Thin, remap.Dev) {
		t := &fakestack.Thin{Pool: fakestack.Place{Dev: m.AddDisk(blocks*block, 512)}, Block: block, Blocks: blocks}
		return t, m.AddMapped(fakestack.Segment{Len: n, Target: t})
	}
	var volume remap.Dev
	r.from, r.src = thin(size, srcBlock, size/srcBlock+1)
	r.to, volume = thin(r.top, dstBlock, dstBlocks)
	r.dst = m.AddMapped(fakestack.Segment{Len: size, Target: fakestack.Linear{Dev: volume, Start: shift}})
	return r
}

// equal tells whether a range holds at the destination what it holds at the source.
func (r *thins) equal(g byterange.Range) bool {
	return bytes.Equal(r.Content(r.src, remap.Sector(g.Src/sector), remap.Sector(g.Len/sector)), r.Content(r.dst, remap.Sector(g.Dst/sector), remap.Sector(g.Len/sector)))
}

// TestThinStaysThin: a thin copy has the blocks of its source and no others, however it is
// copied, so that a pool with room for no more is enough.
func TestThinStaysThin(t *testing.T) {
	const size, block = 4096, 128
	for _, policy := range []plan.Policy{plan.OffloadAuto, plan.OffloadNever} {
		r := newThins(size, 0, block, block, 3)
		for _, at := range []remap.Sector{0, 1024, size - block} {
			r.Scribble(r.src, at, bytes.Repeat([]byte("data"), block*sector/4))
		}
		rep, err := copyOf(t, r.Machine, r.src, r.dst, dispatch.Options{Offload: policy, Verify: account.VerifyFull})
		if err != nil || rep.Host != 3*block*sector || rep.Skipped != rep.Total-rep.Host || reason(rep, plan.ReasonZeroSource) != rep.Skipped {
			t.Errorf("%v, %+v", err, rep)
		}
		if n := r.Mapped(r.to); n != 3 || !r.equal(byterange.Range{Len: size * sector}) {
			t.Errorf("%d blocks, or wrong bytes", n)
		}
	}
}

// TestThinRandom: whatever is mapped on either side, of whatever blocks, the bytes are
// right, and no block is mapped that could have been left alone. The pools are of those
// that show what was there when a part of a block is written.
func TestThinRandom(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const size = 2048
		block := rapid.SampledFrom([]remap.Sector{16, 128, 256})
		shift := 8 * remap.Sector(rapid.IntRange(0, 20).Draw(t, "shift"))
		from, to := block.Draw(t, "from"), block.Draw(t, "to")
		r := newThins(size, shift, from, to, (size+shift)/to+1)
		for _, dev := range []remap.Dev{r.src, r.dst} {
			for range rapid.IntRange(0, 4).Draw(t, "written") {
				at := remap.Sector(rapid.IntRange(0, size-1).Draw(t, "at"))
				n := min(remap.Sector(rapid.IntRange(1, 200).Draw(t, "sectors")), size-at)
				r.Scribble(dev, at, bytes.Repeat([]byte{byte(at), 1}, int(n.Bytes()/2)))
			}
		}
		start := rapid.Int64Range(0, size-1).Draw(t, "start")
		back := rapid.Int64Range(0, start).Draw(t, "back")
		g := byterange.Range{Src: start * sector, Dst: (start - back) * sector, Len: rapid.Int64Range(1, size-start).Draw(t, "length") * sector}
		before := r.Content(r.dst, 0, size)
		// What may be mapped: blocks that are, that the range does not cover, and that get data.
		may := r.Mapped(r.to)
		first, end := remap.Sector(g.Dst/sector)+shift, remap.Sector((g.Dst+g.Len)/sector)+shift
		data := r.Content(r.src, remap.Sector(g.Src/sector), remap.Sector(g.Len/sector))
		holes := remap.Sector(0)
		for b := (first + to - 1) / to; (b+1)*to <= end; b++ {
			if emulation.IsZero(data[(b*to - first).Bytes():][:to.Bytes()]) {
				holes++
			}
		}
		may += (end+to-1)/to - first/to - holes
		rep, err := copyOf(t, r.Machine, r.src, r.dst, dispatch.Options{Window: 64 * kib}, g)
		if err != nil || !r.equal(g) {
			t.Fatalf("%v, or wrong bytes: %+v", err, rep)
		}
		if n := r.Mapped(r.to); n > may {
			t.Fatalf("%d blocks are mapped, at most %d have to be: %+v", n, may, rep)
		}
		after := r.Content(r.dst, 0, size)
		for s := remap.Sector(0); s < size; s++ {
			block := (s + shift) / to
			if touched := block >= first/to && block <= (end-1)/to; !touched && !bytes.Equal(before[s.Bytes():][:sector], after[s.Bytes():][:sector]) {
				t.Fatalf("sector %d, which is not of the range, was changed", s)
			}
		}
	})
}

// TestThinPartOfABlock: what is not mapped at either end is written where the rest of its
// block is: there the pool would show what it likes.
func TestThinPartOfABlock(t *testing.T) {
	const size, small, large = 1024, 64, 256
	r := newThins(size, 0, small, large, size/large)
	r.Scribble(r.src, large+small, bytes.Repeat([]byte("data"), small*sector/4))
	rep, err := copyOf(t, r.Machine, r.src, r.dst, dispatch.Options{})
	if err != nil || !r.equal(byterange.Range{Len: size * sector}) || rep.Zeroed != (large-small)*sector || rep.Skipped != (size-large)*sector || r.Mapped(r.to) != 1 {
		t.Errorf("%v, %d blocks, %+v", err, r.Mapped(r.to), rep)
	}
}

// TestThinOldView: what was mapped since the metadata of the pool were read last is not
// taken for zeroes.
func TestThinOldView(t *testing.T) {
	const size, block = 1024, 128
	r := newThins(size, 0, block, block, size/block)
	if err := r.Renew(); err != nil {
		t.Fatal(err)
	}
	r.Scribble(r.dst, 0, bytes.Repeat([]byte("old!"), block*sector/4))
	rep, err := copyOf(t, r.Machine, r.src, r.dst, dispatch.Options{})
	if err != nil || !r.equal(byterange.Range{Len: size * sector}) || rep.Zeroed != block*sector {
		t.Errorf("%v, %+v", err, rep)
	}
}

// TestSkippedInVain: what was left alone, and has got data at the source, is copied.
func TestSkippedInVain(t *testing.T) {
	const size, block = 1024, 128
	r := newThins(size, 0, block, block, size/block)
	r.Swap(r.src, fakestack.Segment{Len: size, Target: fakestack.Zero{}})
	disk := r.AddDisk(size, 512)
	r.Hooks.Drop = func(int, remap.Dev) {
		r.Swap(r.src, fakestack.Segment{Len: size, Target: fakestack.Linear{Dev: disk}})
	}
	rep, err := copyOf(t, r.Machine, r.src, r.dst, dispatch.Options{})
	if err != nil || !r.equal(byterange.Range{Len: size * sector}) || rep.Skipped != 0 || rep.Recopied != 0 {
		t.Errorf("%v, %+v", err, rep)
	}
}

// TestThinBelowCipher: what is not mapped below does not read as zeroes above.
func TestThinBelowCipher(t *testing.T) {
	const size, block = 1024, 128
	r := newThins(size, 0, block, block, size/block)
	dst := r.AddMapped(fakestack.Segment{Len: size, Target: fakestack.Crypt{Place: fakestack.Place{Dev: r.dst}, Key: key(1, 1)}})
	rep, err := copyOf(t, r.Machine, r.src, dst, dispatch.Options{})
	if err != nil || !bytes.Equal(r.Content(r.src, 0, size), r.Content(dst, 0, size)) || rep.Skipped != 0 {
		t.Errorf("%v, %+v", err, rep)
	}
}

// sparseFile is a file with holes, of any size, in memory.
type sparseFile struct {
	emulation.Device
	id   string
	size int64

	mu     sync.Mutex
	blocks map[int64][]byte
	reads  int64 // bytes that were read of holes
	asked  int
	// answer, if set, takes the place of the truth.
	answer func(off int64) (hole bool, end int64, err error)
}

const fileBlock = 4096

func newSparseFile(id string, size int64) *sparseFile {
	return &sparseFile{id: id, size: size, blocks: make(map[int64][]byte)}
}

func (f *sparseFile) ID() string     { return f.id }
func (f *sparseFile) Name() string   { return f.id }
func (f *sparseFile) Size() int64    { return f.size }
func (f *sparseFile) BlockSize() int { return 1 }
func (f *sparseFile) WriteUnit() int { return 1 }
func (f *sparseFile) Flush() error   { return nil }

// each calls do for the parts of blocks that p is made of.
func (f *sparseFile) each(p []byte, off int64, do func(block int64, p []byte, within int64)) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if off >= f.size {
		return 0, io.EOF
	}
	p = p[:min(int64(len(p)), f.size-off)]
	for done := int64(0); done < int64(len(p)); {
		block, within := (off+done)/fileBlock, (off+done)%fileBlock
		n := min(fileBlock-within, int64(len(p))-done)
		do(block, p[done:done+n], within)
		done += n
	}
	return len(p), nil
}

func (f *sparseFile) ReadAt(p []byte, off int64) (int, error) {
	return f.each(p, off, func(block int64, p []byte, within int64) {
		if b := f.blocks[block]; b != nil {
			copy(p, b[within:])
			return
		}
		f.reads += int64(len(p))
		clear(p)
	})
}

func (f *sparseFile) WriteAt(p []byte, off int64) (int, error) {
	return f.each(p, off, func(block int64, p []byte, within int64) {
		if f.blocks[block] == nil {
			f.blocks[block] = make([]byte, fileBlock)
		}
		copy(f.blocks[block][within:], p)
	})
}

func (f *sparseFile) Zero(off, n int64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for block, b := range f.blocks {
		from, to := max(off-block*fileBlock, 0), min(off+n-block*fileBlock, fileBlock)
		if from == 0 && to == fileBlock {
			delete(f.blocks, block)
		} else if from < to {
			clear(b[from:to])
		}
	}
	return nil
}

// Hole implements ends.HoleFinder.
func (f *sparseFile) At(off int64) (bool, int64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked++
	if f.answer != nil {
		return f.answer(off)
	}
	data := f.blocks[off/fileBlock] != nil
	keys := make([]int64, 0, len(f.blocks))
	for block := range f.blocks {
		keys = append(keys, block)
	}
	slices.Sort(keys)
	if !data {
		i, _ := slices.BinarySearch(keys, off/fileBlock)
		if i == len(keys) {
			return true, f.size, nil
		}
		return true, min(keys[i]*fileBlock, f.size), nil
	}
	block := off / fileBlock
	for f.blocks[block] != nil {
		block++
	}
	return false, min(block*fileBlock, f.size), nil
}

func (f *sparseFile) endpoint() ends.Endpoint {
	return ends.Endpoint{Name: f.id, Device: f, Holes: f, File: &remap.Storage{ID: f.id, Name: "/" + f.id}}
}

// fill writes n bytes that are not zero.
func (f *sparseFile) fill(off, n int64) {
	f.WriteAt(bytes.Repeat([]byte{byte(off>>12) | 1}, int(n)), off)
}

func (f *sparseFile) content(off, n int64) []byte {
	p := make([]byte, n)
	f.ReadAt(p, off)
	return p
}

// noSharing is a machine with files that no file system copies.
func noSharing() *fakestack.Machine {
	return newFileRig(files.FileSystem{Type: "ext4", Name: "8:1", Reason: files.ReasonFileSystem}, 0, 0).Machine
}

func copyEnds(t rapid.TB, m machine.Machine, src, dst ends.Endpoint, opts dispatch.Options, ranges ...byterange.Range) (*account.Report, error) {
	t.Helper()
	rep, err := dispatch.New(m).Copy(context.Background(), dispatch.Job{Src: src, Dst: dst, Ranges: ranges}, opts)
	checkReport(t, rep, err)
	return rep, err
}

// TestHolesOfATerabyte: holes are never read, take no windows, and are holes of the copy;
// nor do they count against a rate.
func TestHolesOfATerabyte(t *testing.T) {
	const size = 1 << 40
	src, dst := newSparseFile("file:0:9:1", size+100), newSparseFile("file:0:9:2", size+100)
	for i := range int64(13) {
		src.fill(i*(size/13)&^4095, mib)
	}
	opts := dispatch.Options{Pacing: dispatch.Pacing{Rate: func() int64 { return 1 << 40 }}}
	rep, err := copyEnds(t, noSharing(), src.endpoint(), dst.endpoint(), opts)
	if err != nil || rep.Host != 13*mib || rep.Skipped != rep.Total-rep.Host || rep.Windows > 2 || reason(rep, plan.ReasonHole) != rep.Skipped {
		t.Errorf("%v, %+v", err, rep)
	}
	if src.reads > 0 || len(dst.blocks) != len(src.blocks) || src.asked > 200 {
		t.Errorf("%d bytes of holes were read, %d blocks, asked %d times", src.reads, len(dst.blocks), src.asked)
	}
	for block, b := range src.blocks {
		if !bytes.Equal(b, dst.blocks[block]) {
			t.Errorf("block %d differs", block)
		}
	}
}

// TestHolesRandom: whatever is data at either end, whatever the ranges, and however little
// the file systems know of it, the bytes are right.
func TestHolesRandom(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const size = 300_000
		src, dst := newSparseFile("file:0:9:1", size), newSparseFile("file:0:9:2", size)
		for _, f := range []*sparseFile{src, dst} {
			for range rapid.IntRange(0, 5).Draw(t, "written") {
				at := rapid.Int64Range(0, size-1).Draw(t, "at")
				f.fill(at, min(rapid.Int64Range(1, 40_000).Draw(t, "bytes"), size-at))
			}
			switch rapid.IntRange(0, 4).Draw(t, "file system") {
			case 0:
				f.answer = func(int64) (bool, int64, error) { return false, 0, unix.EINVAL }
			case 1: // generic_file_llseek: all is data
				f.answer = func(int64) (bool, int64, error) { return false, size, nil }
			case 2: // nonsense
				f.answer = func(off int64) (bool, int64, error) { return true, off - off%3, nil }
			}
		}
		var ranges []byterange.Range
		want := dst.content(0, size)
		for at := int64(0); at < size; {
			at += rapid.Int64Range(0, 9000).Draw(t, "gap")
			from := rapid.Int64Range(0, size-1).Draw(t, "from")
			n := min(rapid.Int64Range(1, size).Draw(t, "length"), size-from, size-at)
			if n <= 0 {
				break
			}
			ranges = append(ranges, byterange.Range{Src: from, Dst: at, Len: n})
			copy(want[at:at+n], src.content(from, n))
			at += n
		}
		if len(ranges) == 0 {
			return
		}
		src.reads = 0
		rep, err := copyEnds(t, noSharing(), src.endpoint(), dst.endpoint(), dispatch.Options{Window: 64 * kib, Verify: account.VerifyNone}, ranges...)
		if err != nil || !bytes.Equal(dst.content(0, size), want) {
			t.Fatalf("%v, or wrong bytes: %+v", err, rep)
		}
		if src.answer == nil && src.reads > 0 {
			t.Fatalf("%d bytes of holes were read", src.reads)
		}
	})
}

// TestHolesAndDevices: holes of a file become nothing on a thin volume, and zeroes of the
// device on others; what is not mapped in a volume becomes a hole.
func TestHolesAndDevices(t *testing.T) {
	const size, block = 4096, 128
	r := newThins(size, 0, block, block, size/block)
	file := newSparseFile("file:0:9:1", size*sector)
	file.fill(block*sector, block*sector)
	rep, err := copyEnds(t, r, file.endpoint(), r.Endpoint(r.dst), dispatch.Options{})
	if err != nil || rep.Host != block*sector || rep.Skipped != rep.Total-rep.Host || r.Mapped(r.to) != 1 || file.reads > 0 {
		t.Errorf("to a thin volume: %v, %d blocks, %+v", err, r.Mapped(r.to), rep)
	}
	back := newSparseFile("file:0:9:2", size*sector)
	rep, err = copyEnds(t, r, r.Endpoint(r.dst), back.endpoint(), dispatch.Options{})
	if err != nil || rep.Host != block*sector || rep.Skipped != rep.Total-rep.Host || len(back.blocks) != len(file.blocks) {
		t.Errorf("from a thin volume: %v, %+v", err, rep)
	}
	disk := r.AddDisk(size, 512)
	rep, err = copyEnds(t, r, file.endpoint(), r.Endpoint(disk), dispatch.Options{})
	if err != nil || rep.Host != block*sector || rep.Zeroed != rep.Total-rep.Host {
		t.Errorf("to a disk: %v, %+v", err, rep)
	}
	want := file.content(0, size*sector)
	if !bytes.Equal(back.content(0, size*sector), want) || !bytes.Equal(r.Content(disk, 0, size), want) || !bytes.Equal(r.Content(r.dst, 0, size), want) {
		t.Error("wrong bytes")
	}
}

// TestHolesOfSharedFiles: a file system that shares blocks is asked for all at once; when
// it turns out that it does not, holes are found and not read.
func TestHolesOfSharedFiles(t *testing.T) {
	for _, works := range []bool{true, false} {
		const size = 64 * mib
		r := newFileRig(sharing, size, size)
		for i := range r.src.data {
			if i >= mib {
				r.src.data[i] = 0
			}
		}
		src := newSparseFile(r.src.id, size)
		src.WriteAt(r.src.data[:mib], 0)
		if !works {
			r.loop.Answer = func(int, files.Move) files.Answer { return files.Answer{Err: unix.EOPNOTSUPP} }
		}
		rep, err := copyEnds(t, r, src.endpoint(), r.dst.endpoint(), dispatch.Options{Window: mib})
		if err != nil || !bytes.Equal(r.dst.data, r.src.data) {
			t.Errorf("%v, or wrong bytes: %+v", err, rep)
		}
		if works && rep.Offloaded != size || !works && (reason(rep, plan.ReasonHole) < size-2*mib || src.reads > mib) {
			t.Errorf("works %v: %d bytes of holes read, %+v", works, src.reads, rep)
		}
	}
}

// TestHolesWithinAFile: a range that is copied within its file is not cut: its parts could
// overwrite each other.
func TestHolesWithinAFile(t *testing.T) {
	file := newSparseFile("file:0:9:1", mib)
	file.fill(0, 8192)
	file.fill(100*kib, 8192)
	want := file.content(0, 512*kib)
	rep, err := copyEnds(t, noSharing(), file.endpoint(), file.endpoint(), dispatch.Options{}, byterange.Range{Dst: 512 * kib, Len: 512 * kib})
	if err != nil || rep.Zeroed+rep.Skipped > 0 || !bytes.Equal(file.content(512*kib, 512*kib), want) {
		t.Errorf("%v, %+v", err, rep)
	}
}

// TestStackOfSource: a source whose layout cannot be read is not copied to a file either: a
// layer of it could be one that must not be copied through.
func TestStackOfSource(t *testing.T) {
	const size, block = 1024, 128
	r := newThins(size, 0, block, block, size/block)
	file := newSparseFile("file:0:9:1", size*sector)
	file.fill(0, 4096)
	rep, err := copyEnds(t, unread{r.Machine}, r.Endpoint(r.src), file.endpoint(), dispatch.Options{})
	if !errors.Is(err, errUnread) || rep != nil {
		t.Errorf("%v, %+v", err, rep)
	}
}

// unread is a machine whose layouts cannot be read.
type unread struct{ *fakestack.Machine }

var errUnread = errors.New("not understood")

func (unread) Stack(context.Context, ...remap.Dev) (*remap.Stack, error) {
	return nil, fmt.Errorf("stack: %w", errUnread)
}
