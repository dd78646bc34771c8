package sysblock

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/dmcopy/dmcopy/internal/sysfs"
	"github.com/dmcopy/dmcopy/remap"
)

// Disk is what the hardware, or what plays it, tells of itself.
type Disk struct {
	// WWID is the kernel's choice among the names that the device gives
	// itself, such as "naa.…", "eui.…" or "uuid.…".
	WWID   string `json:"wwid,omitempty"`
	Serial string `json:"serial,omitempty"`
	Model  string `json:"model,omitempty"`
	NVMe   *NS    `json:"nvme,omitempty"`
}

// NS is where an NVMe namespace lives (drivers/nvme/host/sysfs.c).
type NS struct {
	NSID uint32 `json:"nsid"`
	// NGUID, EUI and UUID are as the kernel prints them, "" if not set.
	NGUID        string `json:"nguid,omitempty"`
	EUI          string `json:"eui,omitempty"`
	UUID         string `json:"uuid,omitempty"`
	SubsystemNQN string `json:"subsystem_nqn"`
	Serial       string `json:"serial"`
	// Controllers are the names of those that lead here, such as "nvme0".
	Controllers []string `json:"controllers"`
	// Multipath: the device is the head of native multipath; the kernel
	// chooses the controller of every command.
	Multipath bool `json:"multipath,omitempty"`
	// Generic is the path of the character device, "" without one.
	Generic string `json:"generic,omitempty"`
}

// Identity is the most durable name of the device, "" if it has none.
func (d *Disk) Identity() string {
	if d.WWID != "" {
		return d.WWID
	}
	return d.Serial
}

// readDisk reads who the device is, by the bus that it sits on. Devices
// without a bus, such as zram, have nothing to tell.
func (f *Facts) readDisk(root FS, d sysfs.Dir) error {
	bus, err := d.LinkBase("device/subsystem")
	if err != nil || stackers[f.Kind] {
		return err
	}
	disk := new(Disk)
	switch bus {
	case "nvme", "nvme-subsystem":
		f.Kind = NVMe
		disk.NVMe, err = readNS(root, d, bus == "nvme-subsystem")
	case "scsi":
		f.Kind = SCSI
	case "virtio":
		f.Kind = Virtio
	case "":
		return nil
	default:
		f.Kind = Kind(bus)
	}
	if err != nil {
		return err
	}
	f.Disk = disk
	return disk.readNames(d)
}

// readNames reads the names of the device, which drivers keep in the disk's
// directory (nvme, virtio) or in that of its parent (scsi).
func (k *Disk) readNames(d sysfs.Dir) error {
	for _, name := range []struct {
		to    *string
		attrs []string
	}{
		{&k.WWID, []string{"wwid", "device/wwid"}},
		{&k.Serial, []string{"serial", "device/serial"}},
		{&k.Model, []string{"device/model"}},
	} {
		for _, attr := range name.attrs {
			s, err := d.Optional(attr)
			if nameless(err) {
				continue
			}
			if err != nil {
				return err
			}
			if *name.to == "" {
				*name.to = s
			}
		}
	}
	return nil
}

// Software is what a disk calls what it does its work by: product and revision, as the driver keeps them (of
// an NVMe namespace in the directory of its controller or, with native multipath, of its subsystem). It
// is empty for a disk that tells nothing of it.
func (f FS) Software(dev remap.Dev) (string, error) {
	d := f.Root().Block(dev)
	var all []string
	for _, attr := range []string{"device/vendor", "device/model", "device/rev", "device/firmware_rev"} {
		s, err := d.Optional(attr)
		if err != nil {
			return "", sysfs.About(dev.String(), err)
		}
		all = append(all, s)
	}
	return strings.TrimSpace(strings.Join(all, " ")), nil
}

// nameless tells whether an error is how the wwid of a SCSI device says that
// the device names itself nowhere, or not well enough (drivers/scsi/scsi_lib.c,
// scsi_vpd_lun_id). A device that vanishes gives ENODEV.
func nameless(err error) bool {
	return errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ENXIO)
}

// readNS reads the namespace of a disk whose device link leads to a controller
// or, with native multipath, to a subsystem.
func readNS(root FS, d sysfs.Dir, head bool) (*NS, error) {
	nsid, err := d.Number("nsid", 32)
	if err != nil {
		return nil, err
	}
	ns := &NS{NSID: uint32(nsid), Multipath: head}
	if ns.SubsystemNQN, err = d.Text("device/subsysnqn"); err != nil {
		return nil, err
	}
	if ns.Serial, err = d.Text("device/serial"); err != nil {
		return nil, err
	}
	ns.Serial = strings.TrimSpace(ns.Serial)
	for attr, to := range map[string]*string{"nguid": &ns.NGUID, "eui": &ns.EUI, "uuid": &ns.UUID} {
		if *to, err = d.Optional(attr); err != nil {
			return nil, err
		}
	}
	if ns.Controllers, err = controllers(d, head); err != nil {
		return nil, err
	}
	ns.Generic, err = generic(root, d)
	return ns, err
}

// controllers lists the controllers of a namespace: the device itself, or the
// ones that the subsystem links to.
func controllers(d sysfs.Dir, head bool) ([]string, error) {
	device, err := filepath.EvalSymlinks(d.Path("device"))
	if err != nil {
		return nil, err
	}
	if !head {
		return []string{filepath.Base(device)}, nil
	}
	entries, err := os.ReadDir(device)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, entry := range entries {
		if entry.Type()&fs.ModeSymlink != 0 && isController(entry.Name()) {
			names = append(names, entry.Name())
		}
	}
	if len(names) == 0 {
		return nil, sysfs.About(device, fmt.Errorf("%w: no controllers", ErrValue))
	}
	slices.Sort(names)
	return names, nil
}

// isController tells "nvme0" from "nvme0n1".
func isController(name string) bool {
	number, ok := strings.CutPrefix(name, "nvme")
	return ok && number != "" && strings.Trim(number, "0123456789") == ""
}

// generic finds the character device of a namespace: it has the same parent as
// the disk, and "ng" where that has "nvme" (drivers/nvme/host/core.c,
// nvme_add_ns_cdev; multipath.c, nvme_add_ns_head_cdev).
func generic(root FS, d sysfs.Dir) (string, error) {
	name := "ng" + strings.TrimPrefix(filepath.Base(string(d)), "nvme")
	theirs, err := filepath.EvalSymlinks(root.Root().Path("sys/class/nvme-generic", name, "device"))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	ours, err := filepath.EvalSymlinks(d.Path("device"))
	if err != nil || ours != theirs {
		return "", err
	}
	return DevPath(name), nil
}
