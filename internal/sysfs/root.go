package sysfs

import (
	"path/filepath"

	"github.com/dmcopy/dmcopy/remap"
)

// Root is the directory that has sys, dev and proc below it. The empty Root is
// that of this machine.
type Root string

// Path is a path below the root.
func (r Root) Path(elem ...string) string {
	return filepath.Join("/", string(r), filepath.Join(elem...))
}

// Block is the directory of a block device, by the link of its number: what it leads
// to is another device when the number is given to one.
func (r Root) Block(dev remap.Dev) Dir { return Dir(r.Blocks().Path(dev.String())) }

// Blocks has those of all block devices.
func (r Root) Blocks() Dir { return Dir(r.Path("sys/dev/block")) }

// Class is the directory of a device of a class, by its name: "block" has all block
// devices, partitions as well.
func (r Root) Class(class, name string) Dir { return Dir(r.Path("sys/class", class, name)) }

// Disk is the directory of a whole disk, by its name. Those that are hidden, the paths of
// native multipath, are among them.
func (r Root) Disk(name string) Dir { return Dir(r.Path("sys/block", name)) }

// Find is the directory that has a block device now, without links. See [Root.Left].
func (r Root) Find(dev remap.Dev) (Dir, error) {
	d, err := filepath.EvalSymlinks(string(r.Block(dev)))
	return Dir(d), err
}

// Left tells whether a block device has left the directory that it was found in: it
// is gone, or its number was given to another one.
func (r Root) Left(dev remap.Dev, from Dir) bool {
	now, err := r.Find(dev)
	return err != nil && Vanished(err) || err == nil && now != from
}
