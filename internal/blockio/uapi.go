package blockio

import (
	"structs"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The ioctls of a block device, include/uapi/linux/fs.h. The kernel's own
// macros disagree with what it writes in one place: BLKGETSIZE64 is declared
// with size_t and writes a u64.
const (
	blkROGet      = unix.BLKROGET     // _IO(0x12, 94), int
	blkFlsBuf     = unix.BLKFLSBUF    // _IO(0x12, 97)
	blkSSZGet     = unix.BLKSSZGET    // _IO(0x12, 104), int
	blkGetSize64  = unix.BLKGETSIZE64 // _IOR(0x12, 114, size_t), u64
	blkZeroOut    = unix.BLKZEROOUT   // _IO(0x12, 127), u64[2]
	blkReportZone = 0xC0101282        // _IOWR(0x12, 130, struct blk_zone_report)
)

// zeroRange is the uint64_t range[2] of BLKZEROOUT (block/ioctl.c,
// blk_ioctl_zeroout), both in bytes.
type zeroRange struct {
	_      structs.HostLayout
	Start  uint64
	Length uint64
}

// zonesAtATime is how many zones are asked for by one ioctl.
const zonesAtATime = 256

// The structures of BLKREPORTZONE, include/uapi/linux/blkzoned.h, counted in sectors of
// 512 bytes.
type (
	// zoneReport is struct blk_zone_report with room for its zones.
	zoneReport struct {
		zoneHeader
		List [zonesAtATime]zoneDescriptor
	}
	zoneHeader struct {
		_      structs.HostLayout
		Sector uint64
		Zones  uint32
		Flags  uint32
	}
	// zoneDescriptor is struct blk_zone.
	zoneDescriptor struct {
		_          structs.HostLayout
		Start, Len uint64
		Pointer    uint64
		Type, Cond uint8
		_          [6]uint8
		Capacity   uint64
		_          [24]uint8
	}
)

// Stop the build when a layout is not what the kernel expects.
const (
	_ = uint(unsafe.Sizeof(zeroRange{})-16) + uint(16-unsafe.Sizeof(zeroRange{}))
	_ = uint(unsafe.Offsetof(zeroRange{}.Start)-0) + uint(0-unsafe.Offsetof(zeroRange{}.Start))
	_ = uint(unsafe.Offsetof(zeroRange{}.Length)-8) + uint(8-unsafe.Offsetof(zeroRange{}.Length))

	_ = uint(unsafe.Offsetof(zoneReport{}.List)-16) + uint(16-unsafe.Offsetof(zoneReport{}.List))
	_ = uint(unsafe.Sizeof(zoneDescriptor{})-64) + uint(64-unsafe.Sizeof(zoneDescriptor{}))
	_ = uint(unsafe.Offsetof(zoneDescriptor{}.Type)-24) + uint(24-unsafe.Offsetof(zoneDescriptor{}.Type))
	_ = uint(unsafe.Offsetof(zoneDescriptor{}.Capacity)-32) + uint(32-unsafe.Offsetof(zoneDescriptor{}.Capacity))
)

func ioctl(fd int, request uint, arg unsafe.Pointer) error {
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), uintptr(request), uintptr(arg))
	if errno != 0 {
		return errno
	}
	return nil
}

// ioctlUint32 is for the ioctls that write an int: unix.IoctlGetInt passes a
// 64-bit variable, half of which is read on big-endian machines.
func ioctlUint32(fd int, request uint) (uint32, error) {
	var v uint32
	err := ioctl(fd, request, unsafe.Pointer(&v))
	return v, err
}

func ioctlUint64(fd int, request uint) (uint64, error) {
	var v uint64
	err := ioctl(fd, request, unsafe.Pointer(&v))
	return v, err
}

func ioctlZeroOut(fd int, off, n int64) error {
	r := zeroRange{Start: uint64(off), Length: uint64(n)}
	return ioctl(fd, blkZeroOut, unsafe.Pointer(&r))
}

func ioctlReportZone(fd int, report *zoneReport) error {
	return ioctl(fd, blkReportZone, unsafe.Pointer(report))
}

// Aligned says whether the memory of b starts at a multiple of align, a power
// of two.
func Aligned(b []byte, align int) bool {
	return uintptr(unsafe.Pointer(unsafe.SliceData(b)))&uintptr(align-1) == 0
}

// setModified is futimens(3) for the time of modification only.
func setModified(fd int, at unix.Timespec) error {
	times := [2]unix.Timespec{{Nsec: unix.UTIME_OMIT}, at}
	if _, _, errno := unix.Syscall6(unix.SYS_UTIMENSAT, uintptr(fd), 0, uintptr(unsafe.Pointer(&times)), 0, 0, 0); errno != 0 {
		return errno
	}
	return nil
}
