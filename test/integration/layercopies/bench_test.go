package layercopies

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/internal/sysblock"
	"github.com/dmcopy/dmcopy/test/vm"
)

// bench is where one case is built: on partitions of one disk, gone with the
// test. Positions and lengths are bytes.
type bench struct {
	*testing.T
	disk  string
	base  string // runs of it stand for partitions; "" if the disk has them
	next  int64  // first byte that is not taken
	parts int32
	gaps  []int64 // where the disk belongs to nobody, gapSize bytes each
	names int
	seed  uint64
}

const (
	// gapSize is what lies in front of each partition and belongs to nobody. It
	// leaves partitions aligned to 4 KiB and to nothing else.
	gapSize = 60 * kib
	gapSeed = 9000
)

func newBench(t *testing.T) *bench {
	t.Helper()
	vm.NoUdev(t)
	return &bench{T: t, disk: vm.Device(t, leaf)}
}

// newSeed is a seed of stamps that nobody else uses.
func (b *bench) newSeed() uint64 { b.seed++; return b.seed }

// newName is a name for a mapped device.
func (b *bench) newName() string { b.names++; return fmt.Sprintf("kind%d", b.names) }

// part makes a partition full of zeroes, or what stands for one, and returns its
// path.
func (b *bench) part(size int64) string {
	b.Helper()
	start := b.next + gapSize
	vm.Stamp(b, b.lowest(), gapSeed, b.next, gapSize)
	b.gaps = append(b.gaps, b.next)
	b.next = start + size
	b.zero(start, size)
	if b.base != "" {
		return vm.Linear(b, b.newName(), b.base, start, size)
	}
	b.parts++
	return vm.Partition(b, b.disk, b.parts, start, size)
}

// lowest is what everything is built upon.
func (b *bench) lowest() string {
	if b.base != "" {
		return b.base
	}
	return b.disk
}

func (b *bench) must(what string, err error) {
	b.Helper()
	if err != nil {
		b.Fatalf("%s: %v", what, err)
	}
}

// zero makes the disk zero a run by itself (include/uapi/linux/fs.h,
// BLKZEROOUT).
func (b *bench) zero(start, size int64) {
	b.Helper()
	run := [2]uint64{uint64(start), uint64(size)}
	b.must("zero", control(b.lowest(), 0x127f, unsafe.Pointer(&run)))
}

func control(path string, request uintptr, arg unsafe.Pointer) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), request, uintptr(arg)); errno != 0 {
		return errno
	}
	return nil
}

// checkGaps finds writes to what belongs to nobody.
func (b *bench) checkGaps() {
	b.Helper()
	for _, at := range b.gaps {
		vm.CheckStamp(b, b.lowest(), gapSeed, at, at, gapSize)
	}
}

// mapped makes a mapped device of a table.
func (b *bench) mapped(lines ...string) string {
	b.Helper()
	return vm.Mapped(b, b.newName(), lines...)
}

// until waits for a state that the kernel comes to on its own time.
func (b *bench) until(what string, reached func() bool) {
	b.Helper()
	vm.Eventually(b, what, func() error {
		if reached() {
			return nil
		}
		return fmt.Errorf("not yet")
	})
}

// size is the length of a device.
func (b *bench) size(path string) int64 {
	b.Helper()
	live := sysblock.FS("")
	dev, err := live.Lookup(path)
	b.must("lookup", err)
	facts, err := live.Facts(dev)
	b.must("size", err)
	return facts.Size.Bytes()
}

// sectors is a length as tables have it.
func sectors(size int64) int64 { return size / 512 }

// fill stamps a whole device.
func (b *bench) fill(path string) {
	b.Helper()
	vm.Stamp(b, path, b.newSeed(), 0, b.size(path))
}

// read reads a run of a device past the page cache.
func (b *bench) read(path string, at, size int64) []byte {
	b.Helper()
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_DIRECT, 0)
	b.must("read", err)
	defer f.Close()
	room := make([]byte, size+4096)
	skip := -int(uintptr(unsafe.Pointer(&room[0]))) & 4095
	buffer := room[skip : skip+int(size)]
	if n, err := f.ReadAt(buffer, at); n < len(buffer) {
		b.Fatalf("read %s at %d: %v", path, at+int64(n), err)
	}
	return buffer
}

// readCached reads the beginning of a run through the page cache.
func (b *bench) readCached(path string, at, size int64) []byte {
	b.Helper()
	f, err := os.Open(path)
	b.must("read", err)
	defer f.Close()
	buffer := make([]byte, min(size, mib))
	if n, err := f.ReadAt(buffer, at); n < len(buffer) {
		b.Fatalf("read %s at %d: %v", path, at+int64(n), err)
	}
	return buffer
}

// same compares what a device holds with what it should.
func (b *bench) same(what, path string, got, want []byte) {
	b.Helper()
	if bytes.Equal(got, want) {
		return
	}
	for at := 0; at < len(want); at += 512 {
		if !bytes.Equal(got[at:at+512], want[at:at+512]) {
			b.Fatalf("%s: sector at byte %d of %s holds %s, want %s", what, at, path, vm.DescribeSector(got[at:at+512]), vm.DescribeSector(want[at:at+512]))
		}
	}
}

// number reads a number.
func (b *bench) number(text string) int64 {
	b.Helper()
	n, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
	b.must("number", err)
	return n
}
