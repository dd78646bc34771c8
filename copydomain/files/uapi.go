package files

import (
	"structs"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/internal/boottime"
)

// btrfsInfo mirrors struct btrfs_ioctl_fs_info_args of <linux/btrfs.h>, as far as it
// is used.
type btrfsInfo struct {
	_ structs.HostLayout

	MaxID          uint64
	NumDevices     uint64
	FSID           [16]byte
	NodeSize       uint32 // bytes
	SectorSize     uint32 // bytes
	CloneAlignment uint32 // bytes
	_              [1024 - 44]byte
}

// xfsGeometry mirrors struct xfs_fsop_geom_v4 of fs/xfs/libxfs/xfs_fs.h: the form
// that every kernel with reflink knows.
type xfsGeometry struct {
	_ structs.HostLayout

	BlockSize uint32 // bytes
	_         [7]uint32
	_         [4]uint64
	UUID      [16]byte
	_         [2]uint32
	Version   int32
	Flags     uint32
	_         [4]uint32
}

const (
	btrfsFSInfo   = 2<<30 | 1024<<16 | 0x94<<8 | 31 // BTRFS_IOC_FS_INFO, _IOR
	xfsFSGeometry = 2<<30 | 112<<16 | 'X'<<8 | 124  // XFS_IOC_FSGEOMETRY_V4, _IOR

	xfsReflink = 1 << 20 // XFS_FSOP_GEOM_FLAGS_REFLINK
)

// Stop the build when a layout is not what the kernel expects.
const (
	_ = uint(unsafe.Sizeof(btrfsInfo{})-1024) + uint(1024-unsafe.Sizeof(btrfsInfo{}))
	_ = uint(unsafe.Offsetof(btrfsInfo{}.CloneAlignment)-40) + uint(40-unsafe.Offsetof(btrfsInfo{}.CloneAlignment))
	_ = uint(unsafe.Sizeof(xfsGeometry{})-112) + uint(112-unsafe.Sizeof(xfsGeometry{}))
	_ = uint(unsafe.Offsetof(xfsGeometry{}.UUID)-64) + uint(64-unsafe.Offsetof(xfsGeometry{}.UUID))
	_ = uint(unsafe.Offsetof(xfsGeometry{}.Flags)-92) + uint(92-unsafe.Offsetof(xfsGeometry{}.Flags))
)

func ioctl(fd int, request uint, arg unsafe.Pointer) error {
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), uintptr(request), uintptr(arg))
	if errno != 0 {
		return errno
	}
	return nil
}

func askBtrfs(fd int) (info btrfsInfo, err error) {
	err = ioctl(fd, btrfsFSInfo, unsafe.Pointer(&info))
	return info, err
}

func askXFS(fd int) (geometry xfsGeometry, err error) {
	err = ioctl(fd, xfsFSGeometry, unsafe.Pointer(&geometry))
	return geometry, err
}

// cloneRange is FICLONERANGE (ioctl_ficlonerange(2)), unless the moment has passed.
func cloneRange(dst int, args *unix.FileCloneRange, until boottime.Instant) error {
	_, errno, begun := boottime.Syscall(until, unix.SYS_IOCTL, uintptr(dst), unix.FICLONERANGE, uintptr(unsafe.Pointer(args)), 0, 0, 0)
	return late(errno, begun)
}

// copyFileRange is copy_file_range(2), unless the moment has passed.
func copyFileRange(src int, from int64, dst int, to, n int64, until boottime.Instant) (int64, error) {
	done, errno, begun := boottime.Syscall(until, unix.SYS_COPY_FILE_RANGE,
		uintptr(src), uintptr(unsafe.Pointer(&from)), uintptr(dst), uintptr(unsafe.Pointer(&to)), uintptr(n), 0)
	if err := late(errno, begun); err != nil {
		return 0, err
	}
	return int64(done), nil
}

func late(errno unix.Errno, begun bool) error {
	switch {
	case !begun:
		return boottime.ErrPassed
	case errno != 0:
		return errno
	}
	return nil
}
