package scsi

import (
	"errors"
	"io/fs"
	"os"
	"regexp"
	"strings"
	"syscall"

	"github.com/dmcopy/dmcopy/internal/sysfs"
)

// SameIdentity lists the other disks of this machine with the identity of a disk, by
// their kernel names.
type SameIdentity struct {
	// Paths lead to the same logical unit: one multipath device has this disk and
	// them as its paths.
	Paths []string
	// Duplicates may be the same logical unit, or other units with a duplicate
	// identity: a command that names the unit may reach one of those.
	Duplicates []string
}

// FindSameIdentity looks for disks with the identity, the kernel's wwid attribute, of
// the disk with the kernel name name ("sda").
func FindSameIdentity(name string) (SameIdentity, error) { return sameIdentityIn("", name) }

var diskName = regexp.MustCompile(`^sd[a-z]+$`)

func sameIdentityIn(root sysfs.Root, name string) (same SameIdentity, err error) {
	const op = "find disks with one identity"
	if !diskName.MatchString(name) {
		return same, opError(op, name, ErrNotSCSI)
	}
	wwid, err := wwidOf(root.Disk(name))
	if err != nil || wwid == "" {
		return same, opError(op, name, err)
	}
	mine, err := multipathOf(root, name)
	if err != nil {
		return same, opError(op, name, err)
	}
	entries, err := os.ReadDir(string(root.Disk("")))
	if err != nil {
		return same, opError(op, name, err)
	}
	for _, e := range entries {
		if e.Name() == name || !diskName.MatchString(e.Name()) {
			continue
		}
		other, err := wwidOf(root.Disk(e.Name()))
		if err == nil && other == wwid {
			var theirs string
			if theirs, err = multipathOf(root, e.Name()); theirs != "" && theirs == mine {
				same.Paths = append(same.Paths, e.Name())
			} else {
				same.Duplicates = append(same.Duplicates, e.Name())
			}
		}
		if err != nil && !gone(err) {
			return SameIdentity{}, opError(op, e.Name(), err)
		}
	}
	return same, nil
}

// gone: the disk was removed while it was looked at.
func gone(err error) bool { return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENODEV) }

// wwidOf is empty for a disk that does not name itself well enough
// (drivers/scsi/scsi_lib.c, scsi_vpd_lun_id).
func wwidOf(disk sysfs.Dir) (string, error) {
	text, err := disk.Text("device/wwid")
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ENXIO) {
		return "", nil
	}
	return strings.TrimSpace(text), err
}

// multipathOf is the multipath device that the disk is a path of, by its kernel
// name, empty if there is none.
func multipathOf(root sysfs.Root, name string) (string, error) {
	holders, err := os.ReadDir(root.Disk(name).Path("holders"))
	if err != nil {
		return "", err
	}
	for _, h := range holders {
		uuid, err := root.Disk(h.Name()).Text("dm/uuid")
		if err != nil && !gone(err) {
			return "", err
		}
		if strings.HasPrefix(uuid, "mpath-") {
			return h.Name(), nil
		}
	}
	return "", nil
}
