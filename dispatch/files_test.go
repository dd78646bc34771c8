package dispatch_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/dmcopy/dmcopy/copydomain"
	"github.com/dmcopy/dmcopy/copydomain/files"
	"github.com/dmcopy/dmcopy/dispatch"
	"github.com/dmcopy/dmcopy/emulation"
	"github.com/dmcopy/dmcopy/internal/boottime"
	"github.com/dmcopy/dmcopy/internal/dispatch/account"
	"github.com/dmcopy/dmcopy/internal/dispatch/byterange"
	"github.com/dmcopy/dmcopy/internal/dispatch/ends"
	"github.com/dmcopy/dmcopy/internal/dispatch/failure"
	"github.com/dmcopy/dmcopy/internal/dispatch/hold"
	"github.com/dmcopy/dmcopy/internal/dispatch/plan"
	"github.com/dmcopy/dmcopy/remap"
	"github.com/dmcopy/dmcopy/test/fakestack"
)

// memoryFile is a regular file in memory.
type memoryFile struct {
	emulation.Device
	id   string
	mu   sync.Mutex
	data []byte
}

func (f *memoryFile) ID() string     { return f.id }
func (f *memoryFile) Name() string   { return f.id }
func (f *memoryFile) Size() int64    { return int64(len(f.data)) }
func (f *memoryFile) BlockSize() int { return 1 }
func (f *memoryFile) WriteUnit() int { return 1 }
func (f *memoryFile) Flush() error   { return nil }

func (f *memoryFile) Zero(off, n int64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	clear(f.data[off:][:n])
	return nil
}

func (f *memoryFile) ReadAt(p []byte, off int64) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if off >= int64(len(f.data)) {
		return 0, io.EOF
	}
	return copy(p, f.data[off:]), nil
}

func (f *memoryFile) WriteAt(p []byte, off int64) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return copy(f.data[off:], p), nil
}

func (f *memoryFile) endpoint() ends.Endpoint {
	return ends.Endpoint{Name: f.id, Device: f, File: &remap.Storage{ID: f.id, Name: "/" + f.id}}
}

// fileRig is a machine with two files, and the file system that they are on.
type fileRig struct {
	*fakestack.Machine
	src, dst *memoryFile
	on       files.FileSystem
	loop     *files.Loopback
}

var sharing = files.FileSystem{Type: "btrfs", Name: "one", Method: files.Clone, Block: 4096}

func newFileRig(on files.FileSystem, srcSize, dstSize int) *fileRig {
	r := &fileRig{
		Machine: fakestack.New(1), on: on,
		src: &memoryFile{id: "file:0:9:1", data: make([]byte, srcSize)}, dst: &memoryFile{id: "file:0:9:2", data: make([]byte, dstSize)},
	}
	for i := range r.src.data {
		r.src.data[i] = byte(i>>12) ^ byte(i>>4) ^ byte(i)
	}
	r.loop = &files.Loopback{Source: r.src.data, Dest: r.dst.data}
	r.Finder = copydomain.NewFinderFor(copydomain.Openers{
		FileSystem: func(files.Name) (files.FileSystem, error) { return r.on, nil },
		Files:      func(files.Name, files.Name) (files.Transport, error) { return r.loop, nil },
	})
	return r
}

func (r *fileRig) copy(t rapid.TB, opts dispatch.Options, ranges ...byterange.Range) (*account.Report, error) {
	t.Helper()
	rep, err := dispatch.New(r.Machine).Copy(context.Background(), dispatch.Job{Src: r.src.endpoint(), Dst: r.dst.endpoint(), Ranges: ranges}, opts)
	checkReport(t, rep, err)
	return rep, err
}

// mustCopy demands success and right bytes, within the ranges and elsewhere.
func (r *fileRig) mustCopy(t rapid.TB, opts dispatch.Options, ranges ...byterange.Range) *account.Report {
	t.Helper()
	want, all := bytes.Clone(r.dst.data), ranges
	if len(all) == 0 {
		all = []byterange.Range{{Len: r.src.Size()}}
	}
	for _, g := range all {
		copy(want[g.Dst:][:g.Len], r.src.data[g.Src:][:g.Len])
	}
	rep, err := r.copy(t, opts, ranges...)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(r.dst.data, want) {
		t.Fatalf("wrong bytes: %+v", rep)
	}
	return rep
}

// TestFilePairVanishes: what shares no blocks any more when it is to be copied goes through the
// host, as any other pair does.
func TestFilePairVanishes(t *testing.T) {
	r := newFileRig(sharing, mib, mib)
	asked := 0
	r.Finder = copydomain.NewFinderFor(copydomain.Openers{
		FileSystem: func(files.Name) (files.FileSystem, error) {
			if asked++; asked > 2 { // once for each file, to plan
				return files.FileSystem{Type: "btrfs", Name: "one", Reason: files.ReasonFileSystem}, nil
			}
			return sharing, nil
		},
	})
	rep := r.mustCopy(t, dispatch.Options{})
	if rep.Host != mib || reason(rep, copydomain.ReasonFileSystem) != mib {
		t.Errorf("%+v", rep)
	}
}

// TestFilesShareBlocks: all but what does not fill a block is shared, and durable.
func TestFilesShareBlocks(t *testing.T) {
	for _, tail := range []int64{0, 1, 511, 512, 4095} {
		const whole = 3 * mib
		size := whole + tail
		r := newFileRig(sharing, int(size), int(size))
		rep := r.mustCopy(t, dispatch.Options{Verify: account.VerifyFull})
		if rep.Offloaded != whole || rep.ByMethod[account.FileReflink] != whole || reason(rep, plan.ReasonAlignment) != tail || rep.Commands != 2 {
			t.Errorf("%d: %+v", size, rep)
		}
		if synced := r.loop.Synced(); len(synced) < whole || !bytes.Equal(synced[:whole], r.src.data[:whole]) {
			t.Errorf("%d: not durable", size)
		}
	}
}

// TestFilesOutOfPhase: blocks that do not begin at the same place cannot be shared.
func TestFilesOutOfPhase(t *testing.T) {
	for _, g := range []byterange.Range{{Src: 0, Dst: 512, Len: mib}, {Src: 1, Dst: 0, Len: mib}, {Src: 0, Dst: 1, Len: mib}, {Src: 4096, Dst: 0, Len: 4095}, {Src: 0, Dst: 0, Len: 1}} {
		r := newFileRig(sharing, 2*mib, 2*mib)
		rep := r.mustCopy(t, dispatch.Options{}, g)
		if rep.Host != g.Len || reason(rep, plan.ReasonAlignment) != g.Len || r.loop.Calls() > 0 {
			t.Errorf("%+v: %+v", g, rep)
		}
	}
}

func TestFilesWithin(t *testing.T) {
	r := newFileRig(sharing, 2*mib, 2*mib)
	r.dst = r.src
	r.loop.Dest = r.src.data
	rep := r.mustCopy(t, dispatch.Options{}, byterange.Range{Src: 0, Dst: mib, Len: mib})
	if rep.Offloaded != mib {
		t.Errorf("%+v", rep)
	}
	if _, err := r.copy(t, dispatch.Options{}, byterange.Range{Src: 0, Dst: 4096, Len: mib}); !errors.Is(err, failure.ErrUsage) {
		t.Errorf("overlapping: %v", err)
	}
}

// TestFilesRefused: each way in which a file system says no, and what is done then.
func TestFilesRefused(t *testing.T) {
	const size = 2 * mib
	for _, c := range []struct {
		answer files.Answer
		reason remap.Reason
	}{
		{files.Answer{Err: unix.EOPNOTSUPP}, "file:not-supported"},
		{files.Answer{Err: unix.EXDEV}, "file:cross-device"},
		{files.Answer{Err: unix.EINVAL}, "file:refused"},
		{files.Answer{Err: unix.ETXTBSY}, "file:in-use"},
		{files.Answer{Err: unix.ENOSPC, Copied: 4096}, "file:no-space"},
		{files.Answer{Said: -1}, "file:short"},
		{files.Answer{Said: 1 << 40}, "file:wrong-count"},
		// It says that it has done all.
		{files.Answer{Copied: -1}, plan.ReasonProofFailed},
		{files.Answer{Copied: 100}, plan.ReasonProofFailed},
	} {
		for _, method := range []files.Method{files.Clone, files.CopyRange} {
			if method == files.Clone && c.answer.Said != 0 {
				continue
			}
			on := sharing
			on.Method = method
			r := newFileRig(on, size, size)
			r.loop.Answer = func(int, files.Move) files.Answer { return c.answer }
			rep := r.mustCopy(t, dispatch.Options{})
			if rep.Host != size || reason(rep, c.reason) != size || rep.Fallbacks == 0 {
				t.Errorf("%+v: %+v", c.answer, rep)
			}
			clear(r.dst.data)
			if _, err := r.copy(t, dispatch.Options{Offload: plan.OffloadRequire}); !errors.Is(err, failure.ErrPolicy) {
				t.Errorf("%+v: required: %v", c.answer, err)
			}
		}
	}
}

// TestFilesEqualBefore: files that are equal prove nothing, so that what was lied
// about is found when they are read back.
func TestFilesEqualBefore(t *testing.T) {
	const size = 2 * mib
	r := newFileRig(sharing, size, size)
	copy(r.dst.data, r.src.data)
	r.dst.data[size-5000] ^= 1
	r.loop.Answer = func(int, files.Move) files.Answer { return files.Answer{Copied: -1} }
	if rep := r.mustCopy(t, dispatch.Options{}); reason(rep, plan.ReasonProofFailed) != size {
		t.Errorf("%+v", rep)
	}
}

func TestFilesPolicy(t *testing.T) {
	none := files.FileSystem{Type: "ext4", Name: "8:1", Reason: files.ReasonFileSystem}
	for _, c := range []struct {
		on     files.FileSystem
		opts   dispatch.Options
		reason remap.Reason
	}{
		{sharing, dispatch.Options{Offload: plan.OffloadNever}, plan.ReasonPolicyNever},
		{none, dispatch.Options{}, copydomain.ReasonFileSystem},
	} {
		r := newFileRig(c.on, mib+5, mib+5)
		if rep := r.mustCopy(t, c.opts); reason(rep, c.reason) != mib+5 || r.loop.Calls() > 0 {
			t.Errorf("%+v", rep)
		}
	}
	r := newFileRig(none, mib, mib)
	if _, err := r.copy(t, dispatch.Options{Offload: plan.OffloadRequire}); !errors.Is(err, failure.ErrPolicy) {
		t.Error(err)
	}
}

// TestRandomFiles: whatever ranges of whatever files are copied and whatever calls
// fail, the bytes are right.
func TestRandomFiles(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.IntRange(1, 300_000).Draw(t, "size")
		on := sharing
		on.Method = rapid.SampledFrom([]files.Method{files.Clone, files.CopyRange}).Draw(t, "method")
		on.Block = rapid.SampledFrom([]int{512, 4096, 65536}).Draw(t, "block")
		r := newFileRig(on, size, 300_000)
		errnos := []error{nil, nil, nil, unix.EIO, unix.ENOSPC, unix.EINVAL}
		r.loop.Answer = func(_ int, m files.Move) files.Answer {
			a := files.Answer{Err: rapid.SampledFrom(errnos).Draw(t, "error")}
			a.Copied = rapid.Int64Range(1, m.Len).Draw(t, "copied")
			if a.Err == nil && on.Method == files.Clone {
				a.Copied = m.Len
			}
			a.Said = a.Copied
			return a
		}
		var ranges []byterange.Range
		for at := int64(0); at < 300_000; {
			at += rapid.Int64Range(0, 5000).Draw(t, "gap")
			from := rapid.Int64Range(0, int64(size)-1).Draw(t, "from")
			if rapid.Bool().Draw(t, "in phase") {
				from += (at - from) % int64(on.Block)
			}
			from = min(max(from, 0), int64(size)-1)
			n := rapid.Int64Range(1, int64(size)-from).Draw(t, "length")
			if at+n > 300_000 {
				break
			}
			ranges = append(ranges, byterange.Range{Src: from, Dst: at, Len: n})
			at += n
		}
		if len(ranges) > 0 {
			r.mustCopy(t, dispatch.Options{}, ranges...)
		}
	})
}

// loopRig is a machine whose disks are loop devices on files of one file system.
type loopRig struct {
	*fakestack.Machine
	src, dst remap.Dev
	moved    map[remap.Dev]bool
	onCall   func()
}

// loopStart is where the loop devices begin in their files.
const loopStart = 8

func newLoopRig() *loopRig {
	r := &loopRig{Machine: fakestack.New(1), moved: make(map[remap.Dev]bool), onCall: func() {}}
	r.src, r.dst = r.AddDisk(volume, 512), r.AddDisk(volume, 512)
	r.Finder = copydomain.NewFinderFor(copydomain.Openers{
		FileSystem: func(files.Name) (files.FileSystem, error) { return sharing, nil },
		Files:      func(files.Name, files.Name) (files.Transport, error) { return loopFiles{&files.Loopback{}, r}, nil },
	})
	return r
}

// loopFiles are the files of the two devices.
type loopFiles struct {
	*files.Loopback
	r *loopRig
}

func (l loopFiles) Sizes() (int64, int64, error) { return 1 << 40, 1 << 40, nil }

func (l loopFiles) Clone(m files.Move, notAfter boottime.Limit) error {
	if err := notAfter.Check(l.r.Now()); err != nil {
		return err
	}
	l.r.onCall()
	n := remap.Sector(m.Len / sector)
	l.r.Fill(l.r.dst, remap.Sector(m.Dst/sector)-loopStart, l.r.Content(l.r.src, remap.Sector(m.Src/sector)-loopStart, n))
	return nil
}

// Stack implements machine.Layout.
func (r *loopRig) Stack(ctx context.Context, devs ...remap.Dev) (*remap.Stack, error) {
	st, err := r.Machine.Stack(ctx, devs...)
	if err != nil {
		return nil, err
	}
	var nodes []*remap.Node
	for _, n := range st.Nodes() {
		if n.Leaf != nil {
			n.Leaf, n.Layer, n.Mutable = nil, remap.OpaqueLayer{Layer: "loop", Reason: plan.ReasonLoop}, true
			n.Storage = &remap.Storage{ID: "file:" + n.Dev.String(), Name: "/" + n.Name, Start: loopStart}
		}
		nodes = append(nodes, n)
	}
	return remap.New(nodes)
}

// Changes implements machine.Layout.
func (r *loopRig) Changes(ctx context.Context, st *remap.Stack) ([]remap.Change, error) {
	changes, err := r.Machine.Changes(ctx, st)
	for dev := range r.moved {
		changes = append(changes, remap.Change{Dev: dev, What: "layout changed"})
	}
	return changes, err
}

func (r *loopRig) copy(t *testing.T, opts dispatch.Options) (*account.Report, error) {
	rep, err := dispatch.New(r).Copy(t.Context(), dispatch.Job{Src: r.Endpoint(r.src), Dst: r.Endpoint(r.dst)}, opts)
	checkReport(t, rep, err)
	return rep, err
}

func (r *loopRig) equal() bool {
	return bytes.Equal(r.Content(r.src, 0, volume), r.Content(r.dst, 0, volume))
}

// TestLoops: nothing holds where a loop device lies in its file, so that blocks are
// shared below a destination at the word of the operator only.
func TestLoops(t *testing.T) {
	for mode, offloaded := range map[hold.Mode]int64{hold.Auto: 0, hold.None: 0, hold.Trust: volume.Bytes()} {
		r := newLoopRig()
		rep, err := r.copy(t, dispatch.Options{Hold: mode})
		if err != nil || rep.Offloaded != offloaded || reason(rep, plan.ReasonHoldUnavailable) != volume.Bytes()-offloaded || !r.equal() {
			t.Errorf("%s: %+v, %v", mode, rep, err)
		}
	}
}

// TestLoopMoves: a destination that moved in its file while it was written there is
// never passed over; a source that moved is copied again.
func TestLoopMoves(t *testing.T) {
	r := newLoopRig()
	r.onCall = func() { r.moved[r.dst] = true }
	if rep, err := r.copy(t, dispatch.Options{Hold: hold.Trust}); err == nil {
		t.Errorf("a destination that moved: %+v", rep)
	}
	r = newLoopRig()
	r.onCall = func() { r.moved[r.src] = true }
	rep, err := r.copy(t, dispatch.Options{Hold: hold.Trust})
	if err != nil || rep.Offloaded != 0 || reason(rep, plan.ReasonLayoutChanged) != volume.Bytes() || !r.equal() {
		t.Errorf("a source that moved: %+v, %v", rep, err)
	}
}

// TestFileAndDevice: what lies on a device that is not stored in a file is not moved to a
// file by anybody else.
func TestFileAndDevice(t *testing.T) {
	r := newFileRig(sharing, int(volume.Bytes()), int(volume.Bytes()))
	disk := r.AddDisk(volume, 512)
	for _, job := range []dispatch.Job{
		{Src: r.src.endpoint(), Dst: r.Endpoint(disk)}, {Src: r.Endpoint(disk), Dst: r.dst.endpoint()},
	} {
		rep, err := dispatch.New(r.Machine).Copy(t.Context(), job, dispatch.Options{})
		if err != nil || reason(rep, plan.ReasonFile) != volume.Bytes() || rep.Host != volume.Bytes() {
			t.Errorf("%+v, %v", rep, err)
		}
	}
	if !bytes.Equal(r.src.data, r.dst.data) {
		t.Error("wrong bytes")
	}
}

// brimful is a file on a file system that has room for so many bytes.
type brimful struct {
	*memoryFile
	room   int64
	denied atomic.Int64
}

func (f *brimful) WriteAt(p []byte, off int64) (int, error) {
	if off+int64(len(p)) > f.room {
		f.denied.Add(1)
		return 0, unix.ENOSPC
	}
	return f.memoryFile.WriteAt(p, off)
}

// TestNoSpace: a file system that is full is not asked again for all that is left, and
// what it has no room for is not said to be done.
func TestNoSpace(t *testing.T) {
	const size, room = 48 * mib, 5 * mib
	for _, inFlight := range []int{1, 4} { // one at a time, what fails is the last that is told of
		r := newFileRig(files.FileSystem{Type: "ext4", Name: "one", Reason: files.ReasonFileSystem}, size, size)
		full := &brimful{memoryFile: r.dst, room: room}
		end := r.dst.endpoint()
		end.Device = full
		var mu sync.Mutex
		most := int64(0)
		opts := dispatch.Options{InFlight: inFlight, Progress: func(p account.Progress) {
			mu.Lock()
			defer mu.Unlock()
			most = max(most, p.Done)
		}}
		rep, err := dispatch.New(r.Machine).Copy(context.Background(), dispatch.Job{Src: r.src.endpoint(), Dst: end}, opts)
		if !errors.Is(err, unix.ENOSPC) {
			t.Fatal(err)
		}
		if rep.Host > room || most > room {
			t.Errorf("%d at a time: %d bytes are said to be done, and %d were meanwhile, of %d that there is room for", inFlight, rep.Host, most, room)
		}
		if n := full.denied.Load(); n > int64(2*inFlight) {
			t.Errorf("%d at a time: tried %d times", inFlight, n)
		}
	}
}
