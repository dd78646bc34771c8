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

// Twins names the other disks of this machine that have the name, in the spelling
// of the kernel's wwid attribute, of the disk with the kernel name name ("sda").
// They may be the same logical unit, or another one to which a command that names
// the unit may lead. Paths that a multipath device has taken for paths to one unit
// are no twins.
func Twins(name string) ([]string, error) { return twinsIn("/sys", name) }

var diskName = regexp.MustCompile(`^sd[a-z]+$`)

func twinsIn(sys, name string) ([]string, error) {
	const op = "find twins"
	if !diskName.MatchString(name) {
		return nil, opError(op, name, ErrNotSCSI)
	}
	wwid, err := wwidOf(sys, name)
	if err != nil || wwid == "" {
		return nil, opError(op, name, err)
	}
	mine, err := multipathOf(sys, name)
	if err != nil {
		return nil, opError(op, name, err)
	}
	entries, err := os.ReadDir(filepath.Join(sys, "block"))
	if err != nil {
		return nil, opError(op, name, err)
	}
	var twins []string
	for _, e := range entries {
		if e.Name() == name || !diskName.MatchString(e.Name()) {
			continue
		}
		other, err := wwidOf(sys, e.Name())
		if err == nil && other == wwid {
			var theirs string
			if theirs, err = multipathOf(sys, e.Name()); theirs == "" || theirs != mine {
				twins = append(twins, e.Name())
			}
		}
		if err != nil && !gone(err) {
			return nil, opError(op, e.Name(), err)
		}
	}
	return twins, nil
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
