package sysblock

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/dmcopy/dmcopy/remap"
)

// export is a device or file that a target of the kernel offers to others. Most of
// these targets claim nothing (drivers/nvme/target/io-cmd-bdev.c opens without
// BLK_OPEN_EXCL, fileio and the gadgets by filp_open), and none of them has a descriptor
// that /proc shows.
type export struct {
	what string // "NVMe subsystem nqn.… of this machine"
	id   string // as [idOf] has it
	// controller is what is exported whole: "nvme0".
	controller string
	// nqn is the subsystem's name, of NVMe.
	nqn string
}

// A server is a kind of target, as configfs shows it.
type server struct {
	what string
	// each is a pattern, below the root, of an attribute that every export has. It
	// holds "1" where enabled is told of.
	each    string
	enabled bool
	// target reads what is exported.
	target func(FS, dir) (export, error)
}

// servers are the targets that are known (Documentation/ABI/testing/configfs-*,
// drivers/nvme/target/configfs.c, drivers/target/target_core_configfs.c).
var servers = []server{
	{"the NVMe target", "sys/kernel/config/nvmet/subsystems/*/namespaces/*/enable", true, nvmeNamespace},
	{"the NVMe target", "sys/kernel/config/nvmet/subsystems/*/passthru/enable", true, nvmeController},
	{"the SCSI target", "sys/kernel/config/target/core/*_*/*/enable", true, scsiStore},
	{"a USB gadget", "sys/kernel/config/usb_gadget/*/functions/mass_storage.*/lun.*/file", false, pathOf("file")},
}

// exports lists what the targets of this kernel offer to others.
func (f FS) exports() ([]export, error) {
	var all []export
	for _, s := range servers {
		found, err := filepath.Glob(f.path(s.each))
		if err != nil {
			return nil, err
		}
		for _, attr := range found {
			e, err := s.read(f, dir(filepath.Dir(attr)))
			if err != nil {
				return nil, &Error{attr, err}
			}
			if e.id != "" || e.controller != "" {
				all = append(all, e)
			}
		}
	}
	return all, nil
}

// read is empty for what is not exported, or cannot be found: somebody has removed its
// name since.
func (s *server) read(f FS, d dir) (export, error) {
	if s.enabled {
		on, err := d.optional("enable")
		if err != nil || on != "1" {
			return export{}, present(err)
		}
	}
	e, err := s.target(f, d)
	e.what = s.what
	if e.nqn != "" {
		e.what += " (" + e.nqn + ")"
	}
	return e, present(err)
}

// present drops the errors of what was removed meanwhile, and of attributes that are
// not for this user.
func present(err error) error {
	if vanished(err) || errors.Is(err, fs.ErrPermission) {
		return nil
	}
	return err
}

// pathOf reads a file that holds a path.
func pathOf(attr string) func(FS, dir) (export, error) {
	return func(f FS, d dir) (export, error) {
		path, err := d.optional(attr)
		return export{id: f.idAt(path)}, err
	}
}

func nvmeNamespace(f FS, d dir) (export, error) {
	e, err := pathOf("device_path")(f, d)
	e.nqn = filepath.Base(filepath.Dir(filepath.Dir(string(d))))
	return e, err
}

func nvmeController(_ FS, d dir) (export, error) {
	path, err := d.optional("device_path")
	if path == "" {
		return export{}, err
	}
	return export{controller: filepath.Base(path), nqn: filepath.Base(filepath.Dir(string(d)))}, err
}

var (
	// iblockDev is what drivers/target/target_core_iblock.c shows.
	iblockDev = regexp.MustCompile(`Major: (\d+) Minor: (\d+)`)
	// fileioPath is what drivers/target/target_core_file.c shows.
	fileioPath = regexp.MustCompile(`(?m)\bFile: (.*?)  Size: `)
)

// scsiStore reads what is behind a unit of the SCSI target. The others than iblock and
// fileio (pscsi) have but the path that they were given.
func scsiStore(f FS, d dir) (export, error) {
	info, err := d.optional("info")
	if err != nil {
		return export{}, err
	}
	if m := iblockDev.FindStringSubmatch(info); m != nil {
		dev, err := remap.ParseDev(m[1] + ":" + m[2])
		if err != nil {
			return export{}, badValue(d.path("info"), info, "a device number")
		}
		return export{id: blockID(dev)}, nil
	}
	if m := fileioPath.FindStringSubmatch(info); m != nil {
		return export{id: f.idAt(m[1])}, nil
	}
	return pathOf("udev_path")(f, d)
}

// idAt is what has a path here, or else at the root of the first process, whose names
// the targets were most likely given; "" if nothing has.
func (f FS) idAt(path string) string {
	if !strings.HasPrefix(path, "/") {
		return ""
	}
	for _, root := range []string{"", "proc/1/root"} {
		if info, err := os.Stat(f.path(root, path)); err == nil {
			return idOf(info)
		}
	}
	return ""
}
