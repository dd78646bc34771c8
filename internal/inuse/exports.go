package inuse

import (
	"errors"
	"io/fs"
	"path/filepath"
	"regexp"

	"github.com/dmcopy/dmcopy/internal/sysfs"
	"github.com/dmcopy/dmcopy/remap"
)

// export is a device or file that a target of the kernel offers to others. Most of
// these targets claim nothing (drivers/nvme/target/io-cmd-bdev.c opens without
// BLK_OPEN_EXCL, fileio and the gadgets by filp_open), and none of them has a descriptor
// that /proc shows.
type export struct {
	what string // "NVMe subsystem nqn.… of this machine"
	id   string // as [sysfs.IDOf] has it
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
	target func(names, sysfs.Dir) (export, error)
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
func (n names) exports() ([]export, error) {
	var all []export
	for _, s := range servers {
		found, err := filepath.Glob(n.Path(s.each))
		if err != nil {
			return nil, err
		}
		for _, attr := range found {
			e, err := s.read(n, sysfs.Dir(filepath.Dir(attr)))
			if err != nil {
				return nil, sysfs.About(attr, err)
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
func (s *server) read(n names, d sysfs.Dir) (export, error) {
	if s.enabled {
		on, err := d.Optional("enable")
		if err != nil || on != "1" {
			return export{}, present(err)
		}
	}
	e, err := s.target(n, d)
	e.what = s.what
	if e.nqn != "" {
		e.what += " (" + e.nqn + ")"
	}
	return e, present(err)
}

// present drops the errors of what was removed meanwhile, and of attributes that are
// not for this user.
func present(err error) error {
	if sysfs.Vanished(err) || errors.Is(err, fs.ErrPermission) {
		return nil
	}
	return err
}

// pathOf reads a file that holds a path.
func pathOf(attr string) func(names, sysfs.Dir) (export, error) {
	return func(n names, d sysfs.Dir) (export, error) {
		path, err := d.Optional(attr)
		return export{id: n.anywhere(path)}, err
	}
}

func nvmeNamespace(n names, d sysfs.Dir) (export, error) {
	e, err := pathOf("device_path")(n, d)
	e.nqn = filepath.Base(filepath.Dir(filepath.Dir(string(d))))
	return e, err
}

func nvmeController(_ names, d sysfs.Dir) (export, error) {
	path, err := d.Optional("device_path")
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
func scsiStore(n names, d sysfs.Dir) (export, error) {
	info, err := d.Optional("info")
	if err != nil {
		return export{}, err
	}
	if m := iblockDev.FindStringSubmatch(info); m != nil {
		dev, err := remap.ParseDev(m[1] + ":" + m[2])
		if err != nil {
			return export{}, sysfs.BadValue(d.Path("info"), info, "a device number")
		}
		return export{id: sysfs.BlockID(dev)}, nil
	}
	if m := fileioPath.FindStringSubmatch(info); m != nil {
		return export{id: n.anywhere(m[1])}, nil
	}
	return pathOf("udev_path")(n, d)
}
