package sysblock

import (
	"path/filepath"
	"strings"

	"github.com/dmcopy/dmcopy/remap"
)

// idBehind is the block device that commands get to by a character device: /dev/ng0n1
// leads to nvme0n1 (drivers/nvme/host/core.c, nvme_add_ns_cdev and nvme_mpath_add_cdev),
// and /dev/sg0 and /dev/bsg/… to the disk of the SCSI device that they belong to
// (drivers/scsi/sg.c, drivers/scsi/scsi_bsg.c). "" for all others.
func (f FS) idBehind(char remap.Dev) string {
	node, err := filepath.EvalSymlinks(f.path("sys/dev/char", char.String()))
	if err != nil {
		return ""
	}
	disks := []string{filepath.Join(node, "device/block/*")}
	if namespace, is := strings.CutPrefix(filepath.Base(node), "ng"); is {
		disks = []string{f.path("sys/class/block", "nvme"+namespace)}
	}
	for _, pattern := range disks {
		found, err := filepath.Glob(pattern)
		if err != nil {
			return ""
		}
		for _, disk := range found {
			if dev, err := dir(disk).dev("dev"); err == nil {
				return blockID(dev)
			}
		}
	}
	return ""
}
