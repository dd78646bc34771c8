package vm

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// NVMe finds the block device of a namespace by the serial number of its controller and its NSID. Kernel names cannot be
// relied on: controllers are numbered in the order in which they answer, and with native multipath the head nvmeXnY is
// numbered by subsystem, its hidden paths nvmeXcZnY by controller. NVMe returns the head, which is what a user sees.
func NVMe(serial string, nsid uint32) (path string, err error) {
	return find(fmt.Sprintf("NVMe namespace %d of serial %s", nsid, serial), "/sys/block/nvme*", func(dir string) bool {
		return attribute(dir, "hidden") != "1" && attribute(dir, "device/serial") == serial &&
			attribute(dir, "nsid") == strconv.FormatUint(uint64(nsid), 10)
	})
}

// Virtio finds the block device of a virtio-blk disk by its serial number.
func Virtio(serial string) (path string, err error) {
	return find("virtio disk "+serial, "/sys/block/vd*", func(dir string) bool { return attribute(dir, "serial") == serial })
}

// SCSI finds the block device of a SCSI disk by its unit serial number.
func SCSI(serial string) (path string, err error) {
	return find("SCSI disk "+serial, "/sys/block/sd*", func(dir string) bool {
		// VPD page 80h: a header of 4 bytes, then the serial number.
		page, err := os.ReadFile(filepath.Join(dir, "device/vpd_pg80"))
		return err == nil && len(page) > 4 && string(bytes.Trim(page[4:], " \x00")) == serial
	})
}

// Find finds the block device of a disk of the machine.
func Find(d Disk) (path string, err error) {
	switch d.bus() {
	case BusNVMe:
		return NVMe(d.Serial, d.nsid())
	case BusVirtio:
		return Virtio(d.Serial)
	}
	return SCSI(d.Serial)
}

// find looks among sysfs directories, and once more after udev has settled: the disk may have been plugged just now.
func find(what, pattern string, match func(dir string) bool) (string, error) {
	for range 2 {
		dirs, err := filepath.Glob(pattern)
		if err != nil {
			return "", err
		}
		for _, dir := range dirs {
			if match(dir) {
				return filepath.Join("/dev", filepath.Base(dir)), nil
			}
		}
		if out, err := exec.Command("udevadm", "settle").CombinedOutput(); err != nil {
			return "", fmt.Errorf("udevadm settle: %w: %s", err, out)
		}
	}
	return "", fmt.Errorf("no %s in this guest", what)
}

// attribute reads a sysfs attribute; "" when there is none.
func attribute(dir, name string) string {
	text, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}
