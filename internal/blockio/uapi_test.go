package blockio

import (
	"runtime"
	"testing"
	"unsafe"
)

// TestIoctlNumbers computes the numbers as include/uapi/asm-generic/ioctl.h and
// linux/fs.h do. mips, ppc and sparc have other direction bits.
func TestIoctlNumbers(t *testing.T) {
	none, read := uint(0), uint(2)
	sizeBits := uint(14)
	switch runtime.GOARCH {
	case "mips", "mipsle", "mips64", "mips64le", "ppc", "ppc64", "ppc64le", "sparc64":
		none, sizeBits = 1, 13
	}
	ioc := func(dir, nr, size uint) uint { return dir<<(16+sizeBits) | size<<16 | 0x12<<8 | nr }
	for name, c := range map[string]struct{ got, want uint }{
		"BLKROGET":     {blkROGet, ioc(none, 94, 0)},
		"BLKFLSBUF":    {blkFlsBuf, ioc(none, 97, 0)},
		"BLKSSZGET":    {blkSSZGet, ioc(none, 104, 0)},
		"BLKGETSIZE64": {blkGetSize64, ioc(read, 114, uint(unsafe.Sizeof(uintptr(0))))},
		"BLKZEROOUT":   {blkZeroOut, ioc(none, 127, 0)},
	} {
		if c.got != c.want {
			t.Errorf("%s is %#x, want %#x", name, c.got, c.want)
		}
	}
}
