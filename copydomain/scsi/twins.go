package scsi

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
)

// Likenesses are the other disks of this machine that have the name of a disk, by
// their kernel names.
type Likenesses struct {
	// Paths lead to the same logical unit, as the multipath device says that
	// has this disk and them.
	Paths []string
	// Twins may be the same logical unit, or another one to which a command
	// that names the unit may lead.
	Twins []string
}

// Likened looks for disks with the name, in the spelling of the kernel's wwid
// attribute, of the disk with the kernel name name ("sda").
func Likened(name string) (Likenesses, error) { return likenedIn("/sys", name) }

var diskName = regexp.MustCompile(`^sd[a-z]+$`)

func likenedIn(sys, name string) (l Likenesses, err error) {
	const op = "find disks of one name"
	if !diskName.MatchString(name) {
		return l, opError(op, name, ErrNotSCSI)
	}
	wwid, err := wwidOf(sys, name)
	if err != nil || wwid == "" {
		return l, opError(op, name, err)
	}
	mine, err := multipathOf(sys, name)
	if err != nil {
		return l, opError(op, name, err)
	}
	entries, err := os.ReadDir(filepath.Join(sys, "block"))
	if err != nil {
		return l, opError(op, name, err)
	}
	for _, e := range entries {
		if e.Name() == name || !diskName.MatchString(e.Name()) {
			continue
		}
		other, err := wwidOf(sys, e.Name())
		if err == nil && other == wwid {
			var theirs string
			if theirs, err = multipathOf(sys, e.Name()); theirs != "" && theirs == mine {
				l.Paths = append(l.Paths, e.Name())
			} else {
				l.Twins = append(l.Twins, e.Name())
			}
		}
		if err != nil && !gone(err) {
			return Likenesses{}, opError(op, e.Name(), err)
		}
	}
	return l, nil
}

// gone: the disk was removed while it was looked at.
func gone(err error) bool { return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENODEV) }

// wwidOf is empty for a disk that does not name itself well enough
// (drivers/scsi/scsi_lib.c, scsi_vpd_lun_id).
func wwidOf(sys, name string) (string, error) {
	text, err := os.ReadFile(filepath.Join(sys, "block", name, "device/wwid"))
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ENXIO) {
		return "", nil
	}
	return strings.TrimSpace(string(text)), err
}

// multipathOf is the multipath device that the disk is a path of, by its kernel
// name, empty if there is none.
func multipathOf(sys, name string) (string, error) {
	holders, err := os.ReadDir(filepath.Join(sys, "block", name, "holders"))
	if err != nil {
		return "", err
	}
	for _, h := range holders {
		uuid, err := os.ReadFile(filepath.Join(sys, "block", h.Name(), "dm/uuid"))
		if err != nil && !gone(err) {
			return "", err
		}
		if strings.HasPrefix(string(uuid), "mpath-") {
			return h.Name(), nil
		}
	}
	return "", nil
}
