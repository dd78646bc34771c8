package sysfs

import (
	"fmt"
	"io/fs"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/remap"
)

// BlockID is what package blockio calls a block device.
func BlockID(dev remap.Dev) string { return "block:" + dev.String() }

// FileID is what package blockio calls a regular file: by the numbers that the kernel
// knows it by, whatever its names are.
func FileID(dev remap.Dev, inode uint64) string { return fmt.Sprintf("file:%s:%d", dev, inode) }

// IDOf is what package blockio calls a block device or regular file; "" for others.
func IDOf(info fs.FileInfo) string {
	mode := info.Mode()
	switch {
	case mode.IsRegular():
		// os.Stat gives a syscall.Stat_t on every Linux.
		st := info.Sys().(*syscall.Stat_t)
		return FileID(DevOf(st.Dev), st.Ino)
	case mode&fs.ModeDevice != 0 && mode&fs.ModeCharDevice == 0:
		return BlockID(NodeDev(info))
	}
	return ""
}

// NodeDev is the device number of a device node.
func NodeDev(info fs.FileInfo) remap.Dev {
	// os.Stat gives a syscall.Stat_t on every Linux.
	return DevOf(info.Sys().(*syscall.Stat_t).Rdev)
}

// DevOf takes a device number apart, as stat(2) has it.
func DevOf(number uint64) remap.Dev {
	return remap.Dev{Major: unix.Major(number), Minor: unix.Minor(number)}
}
