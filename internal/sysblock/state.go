package sysblock

import (
	"os"
	"path/filepath"
	"strings"

	"github.com/dmcopy/dmcopy/internal/sysfs"
	"github.com/dmcopy/dmcopy/remap"
)

// State are the facts of a device, besides its table, that a map rests on and
// that can change while the device exists. They are few, because they are read
// before and after each window of a copy: a device is what it was if its state
// is equal.
type State struct {
	// Link is where sysfs keeps the device: its name, and where it is plugged
	// in or, of a partition, which disk it is part of.
	Link     string
	Kind     Kind // Partition, DM, MD, Bcache, or "" for every other
	Size     remap.Sector
	ReadOnly bool
	// Start is where a partition begins.
	Start remap.Sector
	// The others are those of whole disks that are not mapped. Names are what
	// the device calls itself, Slaves the names of what it is made of.
	DiskSeq      uint64
	LogicalBlock uint64
	Names        [len(naming)]string
	Slaves       string
	// Loop is where a loop device lies in which file.
	Loop [len(storing)]string
}

// naming are the attributes that tell one disk from another.
var naming = [...]string{"wwid", "device/wwid", "nsid", "nguid", "eui", "uuid"}

// storing are the attributes of a loop device that its map depends on
// (drivers/block/loop.c). Who may administer it can change all of them while it is
// open: LOOP_SET_STATUS64, LOOP_CHANGE_FD.
var storing = [...]string{"loop/backing_file", "loop/offset", "loop/sizelimit"}

// State reads the state of a device. If it vanishes meanwhile, or its number
// is given to another device, the error is ErrGone.
func (f FS) State(dev remap.Dev) (State, error) {
	d := f.Root().Block(dev)
	link, err := os.Readlink(string(d))
	if err == nil {
		v := State{Link: link}
		err = v.read(d)
		if now, linkErr := os.Readlink(string(d)); linkErr == nil && now == link {
			if err != nil {
				return v, sysfs.About(dev.String(), err)
			}
			return v, nil
		}
	}
	if err == nil || sysfs.Vanished(err) {
		err = ErrGone
	}
	return State{}, sysfs.About(dev.String(), err)
}

func (v *State) read(d sysfs.Dir) (err error) {
	if v.Size, err = d.Sectors("size"); err != nil {
		return err
	}
	if v.ReadOnly, err = d.Bool("ro"); err != nil {
		return err
	}
	for _, is := range []struct {
		kind Kind
		attr string
	}{{Partition, "partition"}, {DM, "dm"}, {MD, "md"}} {
		found, err := d.Has(is.attr)
		if err != nil {
			return err
		}
		if found {
			v.Kind = is.kind
		}
	}
	if strings.HasPrefix(filepath.Base(v.Link), "dm-") {
		v.Kind = DM
	}
	// Backing and cache devices have a directory bcache as well.
	if v.Kind == "" && stem(filepath.Base(v.Link)) == Bcache {
		v.Kind = Bcache
	}
	switch v.Kind {
	case Partition:
		v.Start, err = d.Sectors("start")
	case MD, Bcache, "":
		err = v.readDisk(d)
	}
	return err
}

func (v *State) readDisk(d sysfs.Dir) (err error) {
	if v.DiskSeq, err = diskSeq(d); err != nil {
		return err
	}
	if v.LogicalBlock, err = d.Number("queue/logical_block_size", 31); err != nil {
		return err
	}
	for i, attr := range naming {
		if v.Names[i], err = d.Optional(attr); err != nil && !nameless(err) {
			return err
		}
	}
	for i, attr := range storing {
		if v.Loop[i], err = d.Optional(attr); err != nil && !sysfs.Vanished(err) {
			return err
		}
	}
	slaves, err := os.ReadDir(d.Path("slaves"))
	for _, s := range slaves {
		v.Slaves += s.Name() + " "
	}
	return err
}
