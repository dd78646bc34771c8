package inuse

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/dmcopy/dmcopy/internal/sysfs"
	"github.com/dmcopy/dmcopy/remap"
)

// names finds what paths lead to: those that others wrote down.
type names struct{ sysfs.Root }

// node is the device number of a node, zero if the path is none. Sources
// of mounts are free text, so nothing that fails here is an error.
func (n names) node(path string) remap.Dev {
	if !strings.HasPrefix(path, "/") {
		return remap.Dev{}
	}
	info, err := os.Stat(n.Path(path))
	if err != nil || info.Mode()&fs.ModeDevice == 0 || info.Mode()&fs.ModeCharDevice != 0 {
		return remap.Dev{}
	}
	return sysfs.NodeDev(info)
}

// file is what package blockio calls the regular file that has a path below a root; ""
// if none has.
func (n names) file(path, root string) string {
	if !strings.HasPrefix(path, "/") {
		return ""
	}
	info, err := os.Stat(n.Path(root, path))
	if err != nil || !info.Mode().IsRegular() {
		return ""
	}
	return sysfs.IDOf(info)
}

// anywhere is what has a path here, or else at the root of the first process, whose names
// the targets were most likely given; "" if nothing has.
func (n names) anywhere(path string) string {
	if !strings.HasPrefix(path, "/") {
		return ""
	}
	for _, root := range []string{"", "proc/1/root"} {
		if info, err := os.Stat(n.Path(root, path)); err == nil {
			return sysfs.IDOf(info)
		}
	}
	return ""
}

// behind is the block device that commands get to by a character device: /dev/ng0n1
// leads to nvme0n1 (drivers/nvme/host/core.c, nvme_add_ns_cdev and nvme_mpath_add_cdev),
// and /dev/sg0 and /dev/bsg/… to the disk of the SCSI device that they belong to
// (drivers/scsi/sg.c, drivers/scsi/scsi_bsg.c). "" for all others.
func (n names) behind(char remap.Dev) string {
	node, err := filepath.EvalSymlinks(n.Path("sys/dev/char", char.String()))
	if err != nil {
		return ""
	}
	disks := []string{filepath.Join(node, "device/block/*")}
	if namespace, is := strings.CutPrefix(filepath.Base(node), "ng"); is {
		disks = []string{string(n.Class("block", "nvme"+namespace))}
	}
	for _, pattern := range disks {
		found, err := filepath.Glob(pattern)
		if err != nil {
			return ""
		}
		for _, disk := range found {
			if dev, err := sysfs.Dir(disk).Dev("dev"); err == nil {
				return sysfs.BlockID(dev)
			}
		}
	}
	return ""
}
