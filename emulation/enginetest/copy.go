package enginetest

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/dmcopy/dmcopy/emulation"
)

func (s suite) copies(t *rapid.T, create func(int64, int) Storage) {
	scene := drawScene(t, 0)
	scene.options.Sparse = rapid.SampledFrom([]emulation.Sparse{
		emulation.SparseOff, emulation.SparseZero, emulation.SparseSkip,
	}).Draw(t, "sparse")
	if scene.options.Sparse == emulation.SparseSkip {
		clear(scene.dst)
	}
	src, dst := create(int64(len(scene.src)), scene.srcBlock), create(int64(len(scene.dst)), scene.dstBlock)
	defer release(t, src, dst)
	src.Fill(scene.src)
	dst.Fill(scene.dst)
	engine := s.engine(t, scene.options)
	defer closeEngine(t, engine)
	var progress int64
	parts := make(covered, len(scene.dst))
	result, err := engine.Copy(context.Background(), src, dst, slices.Values(scene.ops),
		emulation.Observer{Progress: func(n int64) { progress += n }, Done: parts.add})
	if err != nil || len(result.Failures) > 0 {
		t.Fatalf("copy: %v, failures %v", err, result.Failures)
	}
	want, _ := scene.apply(nil, nil)
	if diff := firstDifference(dst.Contents(), want); diff != "" {
		t.Fatalf("destination: %s", diff)
	}
	if !bytes.Equal(src.Contents(), scene.src) {
		t.Fatalf("the source was changed")
	}
	var total, zero int64
	for _, op := range scene.ops {
		total += op.Len
		parts.demand(t, op.Dst, op.Len, 1)
		if op.Zero {
			zero += op.Len
		}
	}
	if done := result.Written + result.Zeroed + result.Skipped; done != total || progress != total || result.Read != total-zero {
		t.Fatalf("stats %+v and progress %d do not add up to %d bytes, %d of them zero", result.Stats, progress, total, zero)
	}
	if scene.options.Sparse == emulation.SparseOff && result.Zeroed != zero {
		t.Fatalf("zeroed %d bytes, want %d", result.Zeroed, zero)
	}
}

// covered counts how often each byte of a destination was said to be done.
type covered []int

func (c covered) add(part emulation.Op) {
	for i := range part.Len {
		c[part.Dst+i]++
	}
}

// demand demands that each of n bytes was done so many times.
func (c covered) demand(t failer, at, n int64, times int) {
	t.Helper()
	for i := at; i < at+n; i++ {
		if c[i] != times {
			t.Fatalf("byte %d is said to be done %d times, want %d", i, c[i], times)
		}
	}
}

func (s suite) copyWithFaults(t *rapid.T) {
	scene := drawScene(t, 0)
	if rapid.Bool().Draw(t, "sparse") {
		scene.options.Sparse = emulation.SparseZero
	}
	readFaults := drawFaults(t, len(scene.src), "bad source")
	writeFaults := drawFaults(t, len(scene.dst), "bad destination")
	src := s.memory(Config{
		Name: "source", Size: int64(len(scene.src)), BlockSize: scene.srcBlock, ReadFaults: readFaults,
		Hiccups: rapid.Bool().Draw(t, "source hiccups"),
	})
	dst := s.memory(Config{
		Name: "destination", Size: int64(len(scene.dst)), BlockSize: scene.dstBlock, WriteFaults: writeFaults,
		Hiccups: rapid.Bool().Draw(t, "destination hiccups"), NoZero: rapid.Bool().Draw(t, "no zero"),
	})
	src.Fill(scene.src)
	dst.Fill(scene.dst)
	engine := s.engine(t, scene.options)
	defer closeEngine(t, engine)
	parts := make(covered, len(scene.dst))
	result, err := engine.Copy(context.Background(), src, dst, slices.Values(scene.ops), emulation.Observer{Done: parts.add})
	if err != nil {
		t.Fatalf("copy: %v", err)
	}
	want, fates := scene.apply(readFaults, writeFaults)
	got := dst.Contents()
	var total, failed int64
	for i, f := range fates {
		if f.op > 0 {
			total++
		}
		if f.unread || f.unsure {
			failed++
		}
		done := 0
		if f.op > 0 && !f.unread && !f.unsure {
			done = 1
		}
		parts.demand(t, int64(i), 1, done)
		if !f.unsure && got[i] != want[i] {
			t.Fatalf("byte %d is %#x, want %#x: %+v", i, got[i], want[i], f)
		}
	}
	if result.Failed != failed || result.Written+result.Zeroed+result.Failed != total {
		t.Fatalf("stats %+v, want %d failed of %d", result.Stats, failed, total)
	}
	checkFailures(t, result.Failures, scene.ops, fates, failed)
}

// checkFailures demands that exactly the damaged bytes are listed, once, with
// the device and the place.
func checkFailures(t failer, failures []emulation.Failure, ops []emulation.Op, fates []fate, total int64) {
	t.Helper()
	end := int64(0)
	for _, failure := range failures {
		op, err := failure.Op, (*emulation.Error)(nil)
		if !errors.As(failure.Err, &err) || !isFault(failure.Err) {
			t.Fatalf("failure %+v: not an injected error", failure)
		}
		if op.Dst < end || op.Len <= 0 {
			t.Fatalf("failure %+v: out of order, or empty", failure)
		}
		end = op.Dst + op.Len
		total -= op.Len
		at, device := op.Dst, "destination"
		if err.Op == "read" {
			at, device = op.Src, "source"
		}
		if err.Device != device || err.Offset > at || err.Offset+err.Length < at+op.Len {
			t.Fatalf("failure %+v: the error names %s, %d bytes at %d", failure, err.Device, err.Length, err.Offset)
		}
		for k := range op.Len {
			f := fates[op.Dst+k]
			if f.unread != (device == "source") || f.unsure != (device == "destination") {
				t.Fatalf("failure %+v: byte %d has the fate %+v", failure, op.Dst+k, f)
			}
			if origin := ops[f.op-1]; origin.Zero != op.Zero || !op.Zero && origin.Src-origin.Dst != op.Src-op.Dst {
				t.Fatalf("failure %+v: belongs to %+v", failure, origin)
			}
		}
	}
	if total != 0 {
		t.Fatalf("%d bytes are missing in the failures %+v", total, failures)
	}
}

func (s suite) overlap(t *rapid.T, create func(int64, int) Storage) {
	scene := drawScene(t, 0)
	data := scene.src
	size := int64(len(data))
	n := rapid.Int64Range(1, size).Draw(t, "length")
	op := emulation.Op{Len: n}
	op.Src = rapid.Int64Range(0, size-n).Draw(t, "from")
	op.Dst = rapid.Int64Range(0, size-n).Draw(t, "to")
	device := create(size, scene.srcBlock)
	defer release(t, device)
	device.Fill(data)
	engine := s.engine(t, scene.options)
	defer closeEngine(t, engine)
	result, err := engine.Copy(context.Background(), device, device, slices.Values([]emulation.Op{op}), emulation.Observer{})
	if err != nil || len(result.Failures) > 0 || result.Written != n {
		t.Fatalf("copy: %v, %+v", err, result)
	}
	copy(data[op.Dst:], data[op.Src:op.Src+n])
	if diff := firstDifference(device.Contents(), data); diff != "" {
		t.Fatalf("%+v: %s", op, diff)
	}
}

func (s suite) ordered(t *rapid.T, create func(int64, int) Storage) {
	scene := drawScene(t, 0)
	scene.options.Ordered = true
	data := scene.src
	size := int64(len(data))
	device := create(size, scene.srcBlock)
	defer release(t, device)
	device.Fill(data)
	var ops []emulation.Op
	for range rapid.IntRange(1, 10).Draw(t, "operations") {
		n := rapid.Int64Range(0, size).Draw(t, "length")
		ops = append(ops, emulation.Op{
			Src: rapid.Int64Range(0, size-n).Draw(t, "from"),
			Dst: rapid.Int64Range(0, size-n).Draw(t, "to"),
			Len: n,
		})
	}
	engine := s.engine(t, scene.options)
	defer closeEngine(t, engine)
	result, err := engine.Copy(context.Background(), device, device, slices.Values(ops), emulation.Observer{})
	if err != nil || len(result.Failures) > 0 {
		t.Fatalf("copy: %v, %v", err, result.Failures)
	}
	for _, op := range ops {
		copy(data[op.Dst:], data[op.Src:op.Src+op.Len])
	}
	if diff := firstDifference(device.Contents(), data); diff != "" {
		t.Fatalf("%+v: %s", ops, diff)
	}
}

// neighbours lets many operations share each block of the destination: a merge
// that is not serialised loses the bytes of another one.
func (s suite) neighbours(t *testing.T) {
	const size, step = 64 << 10, 100
	random := rand.New(rand.NewPCG(7, 7))
	data := make([]byte, size)
	for i := range data {
		data[i] = byte(random.Uint32())
	}
	src := s.memory(Config{Name: "source", Size: size, BlockSize: 512})
	dst := s.memory(Config{Name: "destination", Size: size, BlockSize: 4096})
	src.Fill(data)
	var ops []emulation.Op
	for at := int64(0); at < size; at += step {
		ops = append(ops, emulation.Op{Src: at, Dst: at, Len: min(step, size-at)})
	}
	random.Shuffle(len(ops), func(i, j int) { ops[i], ops[j] = ops[j], ops[i] })
	engine := s.engine(t, emulation.Options{QueueDepth: 16, BlockSize: 4096})
	defer closeEngine(t, engine)

	// Two calls at a time: blocks are shared between calls as well.
	var calls sync.WaitGroup
	for _, half := range [][]emulation.Op{ops[:len(ops)/2], ops[len(ops)/2:]} {
		calls.Go(func() {
			if result, err := engine.Copy(context.Background(), src, dst, slices.Values(half), emulation.Observer{}); err != nil || len(result.Failures) > 0 {
				t.Errorf("copy: %v, %v", err, result.Failures)
			}
		})
	}
	calls.Wait()
	if diff := firstDifference(dst.Contents(), data); diff != "" {
		t.Fatal(diff)
	}
}

// mergeNeedsRead: a block that is only partly overwritten and cannot be read
// must not be written.
func (s suite) mergeNeedsRead(t *testing.T) {
	src := s.memory(Config{Name: "source", Size: 16384, BlockSize: 512})
	dst := s.memory(Config{
		Name: "destination", Size: 16384, BlockSize: 4096,
		ReadFaults: map[int64]error{1: unix.EIO, 9: unix.EIO, 24: unix.EIO},
	})
	src.Fill(bytes.Repeat([]byte{0xaa}, 16384))
	old := bytes.Repeat([]byte{0xbb}, 16384)
	dst.Fill(old)
	engine := s.engine(t, emulation.Options{BlockSize: 4096})
	defer closeEngine(t, engine)
	ops := []emulation.Op{{Src: 0, Dst: 3584, Len: 4096 + 1024}} // 512 + 4096 + 512 bytes
	result, err := engine.Copy(context.Background(), src, dst, slices.Values(ops), emulation.Observer{})
	if err != nil {
		t.Fatal(err)
	}
	if len(result.Failures) != 1 || result.Failures[0].Op != (emulation.Op{Src: 0, Dst: 3584, Len: 512}) {
		t.Fatalf("failures %+v", result.Failures)
	}
	if !errors.Is(result.Failures[0].Err, unix.EIO) || result.Failed != 512 || result.Written != 4608 {
		t.Fatalf("%+v", result)
	}
	copy(old[4096:], bytes.Repeat([]byte{0xaa}, 4096+512))
	if diff := firstDifference(dst.Contents(), old); diff != "" {
		t.Fatal(diff)
	}
}

// exactNeedsNoRead: a device that writes any bytes is written nothing else, and so
// nothing of it is read.
func (s suite) exactNeedsNoRead(t *testing.T) {
	const size = 64 << 10
	unreadable := map[int64]error{}
	for i := range int64(size / sectorSize) {
		unreadable[i] = unix.EIO
	}
	src := s.memory(Config{Name: "source", Size: size, BlockSize: 512})
	src.Fill(bytes.Repeat([]byte{0xaa}, size))
	engine := s.engine(t, emulation.Options{BlockSize: 4096})
	defer closeEngine(t, engine)
	for _, op := range []emulation.Op{{Dst: 1, Len: 1}, {Src: 7, Dst: 4095, Len: 2}, {Src: 100, Dst: 5000, Len: 20000}, {Dst: 9000, Len: 30001, Zero: true}} {
		dst := s.memory(Config{Name: "destination", Size: size, BlockSize: 4096, Exact: true, ReadFaults: unreadable, NoZero: true})
		want := bytes.Repeat([]byte{0xbb}, size)
		dst.Fill(want)
		result, err := engine.Copy(context.Background(), src, dst, slices.Values([]emulation.Op{op}), emulation.Observer{})
		if err != nil || len(result.Failures) > 0 || result.Merged > 0 {
			t.Errorf("%+v: %v, %+v", op, err, result)
		}
		fill := byte(0xaa)
		if op.Zero {
			fill = 0
		}
		copy(want[op.Dst:], bytes.Repeat([]byte{fill}, int(op.Len)))
		if diff := firstDifference(dst.Contents(), want); diff != "" {
			t.Errorf("%+v: %s", op, diff)
		}
	}
}

// flawInMergedBlock: a bad source sector splits what goes into one block of the
// destination, and that block is bad too. Each byte is lost once.
func (s suite) flawInMergedBlock(t *testing.T) {
	src := s.memory(Config{Name: "source", Size: 8192, BlockSize: 512, ReadFaults: map[int64]error{2: unix.EIO}})
	dst := s.memory(Config{Name: "destination", Size: 8192, BlockSize: 4096, WriteFaults: map[int64]error{0: unix.EIO}})
	engine := s.engine(t, emulation.Options{BlockSize: 8192})
	defer closeEngine(t, engine)
	result, err := engine.Copy(context.Background(), src, dst, slices.Values([]emulation.Op{{Len: 8192}}), emulation.Observer{})
	if err != nil || result.Failed != 4096 || result.Written != 4096 {
		t.Fatalf("copy: %v, %+v", err, result)
	}
	want := []emulation.Op{{Len: 1024}, {Src: 1024, Dst: 1024, Len: 512}, {Src: 1536, Dst: 1536, Len: 2560}}
	for i, f := range result.Failures {
		if len(result.Failures) != len(want) || f.Op != want[i] {
			t.Fatalf("failures %+v, want %+v", result.Failures, want)
		}
	}
}

func (s suite) zeroUnsupported(t *testing.T) {
	dst := s.memory(Config{Name: "destination", Size: 64 << 10, BlockSize: 512, NoZero: true})
	want := bytes.Repeat([]byte{0xcc}, 64<<10)
	dst.Fill(want)
	engine := s.engine(t, emulation.Options{BlockSize: 8192})
	defer closeEngine(t, engine)
	op := emulation.Op{Dst: 1000, Len: 50000, Zero: true}
	result, err := engine.Copy(context.Background(), nil, dst, slices.Values([]emulation.Op{op}), emulation.Observer{})
	if err != nil || result.Zeroed != 50000 {
		t.Fatalf("copy: %v, %+v", err, result)
	}
	clear(want[1000:51000])
	if diff := firstDifference(dst.Contents(), want); diff != "" {
		t.Fatal(diff)
	}
}

// stoppedInOrder: where later pieces overwrite the source of earlier ones, a
// failed write is the end, with the source of what failed still there.
func (s suite) stoppedInOrder(t *testing.T) {
	const size = 64 << 10
	chain := []emulation.Op{{Src: 0, Dst: 32 << 10, Len: 16 << 10}, {Src: 16 << 10, Dst: 0, Len: 16 << 10}}
	for name, c := range map[string]struct {
		options emulation.Options
		ops     []emulation.Op
		bad     int64 // sector of the destination
		keep    emulation.Op
	}{
		"up":      {emulation.Options{BlockSize: 4096}, []emulation.Op{{Src: 8192, Dst: 0, Len: size - 8192}}, 8, emulation.Op{Src: 12288, Len: 4096}},
		"down":    {emulation.Options{BlockSize: 4096}, []emulation.Op{{Src: 0, Dst: 8192, Len: size - 8192}}, 112, emulation.Op{Src: 49152, Len: 4096}},
		"ordered": {emulation.Options{BlockSize: 4096, Ordered: true}, chain, 64, emulation.Op{Src: 0, Len: 16 << 10}},
	} {
		device := s.memory(Config{Name: "memory", Size: size, BlockSize: 512, WriteFaults: map[int64]error{c.bad: unix.EIO}})
		data := make([]byte, size)
		for i := range data {
			data[i] = byte(i>>9) + 1
		}
		device.Fill(data)
		engine := s.engine(t, c.options)
		defer closeEngine(t, engine)
		result, err := engine.Copy(context.Background(), device, device, slices.Values(c.ops), emulation.Observer{})
		if !errors.Is(err, emulation.ErrStopped) || result.Failed != 512 || len(result.Failures) != 1 {
			t.Errorf("%s: %v, %+v", name, err, result)
			continue
		}
		from, to := c.keep.Src, c.keep.Src+c.keep.Len
		if !bytes.Equal(device.Contents()[from:to], data[from:to]) {
			t.Errorf("%s: the source of %+v is overwritten", name, result.Failures[0].Op)
		}
	}
}

// sparse: whole 64 KiB units of zeroes are zeroed or left alone, and nothing
// else is.
func (s suite) sparse(t *testing.T) {
	const unit, size = 64 << 10, 8 * 64 << 10
	data := make([]byte, size)
	data[0] = 1        // unit 0: data
	data[3*unit-1] = 1 // unit 2: data, unit 1: zero
	data[5*unit] = 1   // unit 5: data, units 3 and 4: zero
	for name, c := range map[string]struct {
		mode            emulation.Sparse
		zeroed, skipped int64
	}{
		"off":  {emulation.SparseOff, 0, 0},
		"zero": {emulation.SparseZero, 4 * unit, 0}, // the last unit is cut short
		"skip": {emulation.SparseSkip, 0, 4 * unit},
	} {
		src := s.memory(Config{Name: "source", Size: size, BlockSize: 512})
		dst := s.memory(Config{Name: "destination", Size: size, BlockSize: 4096})
		src.Fill(data)
		old := bytes.Repeat([]byte{0xdd}, size)
		dst.Fill(old)
		engine := s.engine(t, emulation.Options{BlockSize: 4 * unit, Sparse: c.mode})
		defer closeEngine(t, engine)
		ops := slices.Values([]emulation.Op{{Len: size - 100}})
		result, err := engine.Copy(context.Background(), src, dst, ops, emulation.Observer{})
		if err != nil || result.Zeroed != c.zeroed || result.Skipped != c.skipped || result.Written != size-100-c.zeroed-c.skipped {
			t.Errorf("%s: %v, %+v", name, err, result)
		}
		want := slices.Concat(data[:size-100], old[size-100:])
		if c.mode == emulation.SparseSkip {
			for _, i := range []int{1, 3, 4, 6} {
				copy(want[i*unit:(i+1)*unit], old)
			}
		}
		if diff := firstDifference(dst.Contents(), want); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}
