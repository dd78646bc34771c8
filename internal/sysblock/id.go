package sysblock

import (
	"fmt"
	"io/fs"
	"syscall"

	"github.com/dmcopy/dmcopy/remap"
)

// blockID is what package blockio calls a block device.
func blockID(dev remap.Dev) string { return "block:" + dev.String() }

// fileID is what package blockio calls a regular file: by the numbers that the kernel
// knows it by, whatever its names are.
func fileID(dev remap.Dev, inode uint64) string { return fmt.Sprintf("file:%s:%d", dev, inode) }

// idOf is what package blockio calls a block device or regular file; "" for others.
func idOf(info fs.FileInfo) string {
	mode := info.Mode()
	switch {
	case mode.IsRegular():
		// os.Stat gives a syscall.Stat_t on every Linux.
		st := info.Sys().(*syscall.Stat_t)
		return fileID(devOf(st.Dev), st.Ino)
	case mode&fs.ModeDevice != 0 && mode&fs.ModeCharDevice == 0:
		return blockID(rdev(info))
	}
	return ""
}
