package layout

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"syscall"

	"github.com/dmcopy/dmcopy/dmtable"
	"github.com/dmcopy/dmcopy/internal/bcache"
	"github.com/dmcopy/dmcopy/internal/sysblock"
	"github.com/dmcopy/dmcopy/mdraid"
	"github.com/dmcopy/dmcopy/remap"
)

// devices reads one device at a time.
type devices struct {
	fs      sysblock.FS
	control func() (*dmtable.Control, error)
}

func (r *Reader) devices() devices { return devices{r.fs, r.control} }

// passes tells whether reading a device again may help: it contradicts itself, or the
// kernel fails to tell, as it does of what comes or goes. Which errno it gives is up to
// each file: ENOENT for directories that are taken away one by one
// (block/genhd.c, del_gendisk), ENODEV (fs/kernfs/file.c), ENXIO for mapped devices,
// EINVAL (drivers/md/dm-sysfs.c, dm_attr_show), EBUSY (drivers/md/md.c,
// md_attr_show), EIO. So every one counts.
func passes(err error) bool {
	var errno syscall.Errno
	return errors.As(err, &errno) || isRace(err)
}

// isRace tells whether something was not what it was a moment before.
func isRace(err error) bool {
	return errors.Is(err, ErrRace) || errors.Is(err, sysblock.ErrGone) || errors.Is(err, dmtable.ErrNoDevice) || errors.Is(err, dmtable.ErrRace) ||
		errors.Is(err, mdraid.ErrGone) || errors.Is(err, mdraid.ErrUnsteady) || errors.Is(err, mdraid.ErrNotArray) ||
		errors.Is(err, bcache.ErrUnsteady) || errors.Is(err, bcache.ErrNotBcache)
}

// denied is a device that may not be asked for.
func (d devices) denied(dev remap.Dev, why error) (*Node, error) {
	facts, err := d.fs.Facts(dev)
	if err != nil {
		return nil, err
	}
	n := &Node{Facts: *facts}
	n.markUnread(why)
	return n, nil
}

// node reads one device. The error is sysblock.ErrGone, or about the machine as a
// whole; what is wrong with the device is noted in the node.
func (d devices) node(dev remap.Dev) (*Node, error) {
	n, err := d.steady(dev)
	if err == nil && n.Unread == "" {
		err = n.check()
	}
	switch {
	case err == nil && n.Unread != "":
		n.markUnread(n.Cause())
		return n, nil
	case err == nil:
		return n, nil
	case errors.Is(err, errDenied):
		return nil, err
	}
	facts, factsErr := d.fs.Facts(dev)
	if factsErr != nil {
		return nil, factsErr
	}
	n = &Node{Facts: *facts}
	n.markUnread(err)
	return n, nil
}

// steady reads one device: its state before and after everything else, so that
// the facts belong to them.
func (d devices) steady(dev remap.Dev) (*Node, error) {
	state, err := d.fs.State(dev)
	if err != nil {
		return nil, err
	}
	n, table, err := d.read(dev)
	if err != nil {
		return nil, err
	}
	again, err := d.fs.State(dev)
	if err == nil && again != state {
		err = &Error{n.describe(), ErrRace}
	}
	n.print = fingerprint(state, table)
	return n, err
}

// read reads everything about a device. The print is that of the table of a
// mapped device, or of an array.
func (d devices) read(dev remap.Dev) (n *Node, print remap.Fingerprint, err error) {
	facts, err := d.fs.Facts(dev)
	if err != nil {
		return nil, print, err
	}
	n = &Node{Facts: *facts}
	if n.Unread != "" {
		return n, print, nil
	}
	switch n.Kind {
	case sysblock.MD:
		return d.readArray(n)
	case sysblock.DM:
		return d.readTable(n)
	case sysblock.Bcache:
		return d.readBcache(n)
	case sysblock.Loop:
		n.Loop, err = d.fs.LoopFile(facts)
		return n, print, err
	}
	return n, print, nil
}

func (d devices) readArray(n *Node) (_ *Node, print remap.Fingerprint, err error) {
	if n.MD, err = mdraid.Read(d.fs.Root(), n.Dev); err != nil {
		return nil, print, err
	}
	for _, dev := range n.MD.Below() {
		if !slices.Contains(n.Slaves, dev) {
			return nil, print, &Error{n.describe(), fmt.Errorf("%w: member %s is not among the slaves", ErrRace, dev)}
		}
	}
	return n, n.MD.Print(), nil
}

func (d devices) readBcache(n *Node) (_ *Node, print remap.Fingerprint, err error) {
	if n.Bcache, err = bcache.Read(d.fs.Root(), n.Dev); err != nil {
		return nil, print, err
	}
	if !slices.Equal(n.Bcache.Below(), n.Slaves) || n.Bcache.Size != n.Size {
		return nil, print, &Error{n.describe(), fmt.Errorf("%w: a cache is being attached or detached", ErrRace)}
	}
	return n, n.Bcache.Print(), nil
}

func (d devices) readTable(n *Node) (_ *Node, print remap.Fingerprint, err error) {
	dm, err := d.control()
	if err != nil {
		return nil, print, err
	}
	if n.DM, err = dm.Table(n.Dev); err != nil {
		return nil, print, err
	}
	if err := n.checkTable(); err != nil {
		return nil, print, &Error{n.describe(), d.unplugged(n, err)}
	}
	return n, n.DM.Print, nil
}

// unplugged tells whether a table contradicts sysfs only because it holds a disk that is
// gone, which it does for as long as it lives: that is no race. The error is the
// given one if not.
func (d devices) unplugged(n *Node, otherwise error) error {
	for _, dev := range n.DM.Deps {
		if _, err := d.fs.State(dev); errors.Is(err, sysblock.ErrGone) {
			return fmt.Errorf("it holds %s, which is gone", dev)
		}
	}
	return otherwise
}

// below lists the devices that the node rests on.
func (n *Node) below() []remap.Dev {
	switch {
	case n.Part != nil:
		return []remap.Dev{n.Part.Parent}
	case n.DM != nil:
		return n.DM.Deps
	case n.Loop != nil && n.Loop.Block != nil:
		return []remap.Dev{*n.Loop.Block}
	}
	return n.Slaves
}

// checkTable compares the table with sysfs, which was read before: if they
// contradict each other, the table was swapped in between.
func (n *Node) checkTable() error {
	for _, dev := range n.DM.Named() {
		if !slices.Contains(n.DM.Deps, dev) {
			return fmt.Errorf("%w: the table maps to %s but does not hold it", ErrRace, dev)
		}
	}
	for _, dev := range n.DM.Deps {
		if !slices.Contains(n.Slaves, dev) {
			return fmt.Errorf("%w: the table holds %s, which is not among the slaves", ErrRace, dev)
		}
	}
	// A staged table holds its devices too, and they are slaves already.
	if !n.DM.Staged && len(n.Slaves) != len(n.DM.Deps) {
		return fmt.Errorf("%w: %d slaves, the table holds %d devices", ErrRace, len(n.Slaves), len(n.DM.Deps))
	}
	if n.DM.Active && n.DM.Size() != n.Size && !n.DM.SizesItself() {
		return fmt.Errorf("%w: the device has %d sectors, the table %d", ErrRace, n.Size, n.DM.Size())
	}
	return nil
}

// fingerprint digests everything that the map and the identity of a device
// depend on.
func fingerprint(v sysblock.State, table remap.Fingerprint) remap.Fingerprint {
	return sha256.Sum256(fmt.Appendf(nil, "%+v %x", v, table))
}
