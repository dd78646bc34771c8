package files

import (
	"os"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// extent mirrors struct fiemap_extent of <linux/fiemap.h>.
type extent struct {
	logical, physical, length uint64 // bytes
	_                         [2]uint64
	flags                     uint32
	_                         [3]uint32
}

const (
	fiemap        = 0xC020660B // FS_IOC_FIEMAP
	fiemapSync    = 1
	extentLast    = 0x1
	extentEncoded = 0x8
	extentShared  = 0x2000
	extentUnknown = 0x2 | 0x4 // no place yet
)

// extents lists where a file lies.
func extents(t *testing.T, path string) []extent {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var all []extent
	for start := uint64(0); ; {
		m := struct {
			start, length                  uint64
			flags, mapped, count, reserved uint32
			extents                        [256]extent
		}{start: start, length: 1<<63 - start, flags: fiemapSync, count: 256}
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), fiemap, uintptr(unsafe.Pointer(&m))); errno != 0 {
			t.Fatal(errno)
		}
		all = append(all, m.extents[:m.mapped]...)
		if m.mapped == 0 || all[len(all)-1].flags&extentLast != 0 {
			return all
		}
		start = all[len(all)-1].logical + all[len(all)-1].length
	}
}

// place finds a byte of a file: where it is on the disk, and whether others are
// there, too. There is none for a hole.
func place(all []extent, at int64) (physical uint64, shared, found bool) {
	for _, e := range all {
		if off := uint64(at) - e.logical; uint64(at) >= e.logical && off < e.length {
			if e.flags&extentEncoded != 0 {
				off = 0 // what is compressed lies there as a whole
			}
			return e.physical + off, e.flags&extentShared != 0, e.flags&extentUnknown == 0
		}
	}
	return 0, false, false
}

// sameBlocks demands that a run of two files, in bytes, lies in the same blocks.
func sameBlocks(t *testing.T, src string, from int64, dst string, to, n int64) {
	t.Helper()
	a, b := extents(t, src), extents(t, dst)
	for at := int64(0); at < n; at += 4 * kib {
		x, shared, inSrc := place(a, from+at)
		y, sharedToo, inDst := place(b, to+at)
		if inSrc != inDst || inSrc && (x != y || !shared || !sharedToo) {
			t.Fatalf("byte %d of %s is at %d (shared: %v, there: %v), byte %d of %s at %d (%v, %v)",
				from+at, src, x, shared, inSrc, to+at, dst, y, sharedToo, inDst)
		}
	}
}
