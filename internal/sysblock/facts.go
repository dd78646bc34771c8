package sysblock

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"unicode"

	"github.com/dmcopy/dmcopy/internal/sysfs"
	"github.com/dmcopy/dmcopy/remap"
)

// Kind says what a block device is made of.
type Kind string

// Kinds that other packages look at. Any other kind is the stem of the
// kernel's name: "zram", "nbd", "rbd", …
const (
	Partition Kind = "partition"
	DM        Kind = "dm"
	MD        Kind = "md"
	Bcache    Kind = "bcache"
	Loop      Kind = "loop"
	NVMe      Kind = "nvme"
	SCSI      Kind = "scsi"
	Virtio    Kind = "virtio"
)

// stackers are drivers, by the stem of their kernel names, whose devices are
// made of other devices or of files without always showing it in slaves.
var stackers = map[Kind]bool{
	MD: true, Loop: true, Bcache: true, "drbd": true, "pktcdvd": true, "zloop": true,
}

// Facts are what sysfs tells of one block device.
type Facts struct {
	Dev remap.Dev `json:"dev"`
	// Name is the kernel's name, "nvme0n1".
	Name string       `json:"name"`
	Kind Kind         `json:"kind"`
	Size remap.Sector `json:"size"`
	// Blocks are those of the disk of a partition, as are Zoned, WriteCache, KernelCopy and
	// DiskSeq.
	Blocks
	ReadOnly bool `json:"read_only,omitempty"`
	// Zoned is "none", "host-managed" or "host-aware".
	Zoned string `json:"zoned"`
	// WriteCache is "write back" or "write through".
	WriteCache string `json:"write_cache"`
	// KernelCopy is the most bytes that the kernel would have the disk copy by one
	// operation of its own: queue/copy_max_hw_bytes, as proposed for the block
	// layer in several series of patches. 0 where there is no such facility, as in all
	// kernels so far.
	KernelCopy uint64 `json:"copy_max_hw_bytes,omitempty"`
	// DiskSeq counts the disks of this boot (since Linux 5.15, else 0): a
	// device number that was used again has another one.
	DiskSeq uint64 `json:"diskseq,omitempty"`
	// Part is set for partitions.
	Part *Part `json:"partition,omitempty"`
	// Disk is set for devices with hardware below, real or emulated.
	Disk *Disk `json:"disk,omitempty"`
	// Slaves are the devices that this one is made of, as far as sysfs knows,
	// Holders the devices that are made of this one; both in order of number.
	Slaves  []remap.Dev `json:"slaves,omitempty"`
	Holders []remap.Dev `json:"holders,omitempty"`
	Trouble
}

// Blocks are sizes in bytes.
type Blocks struct {
	LogicalBlock  int `json:"logical_block"`
	PhysicalBlock int `json:"physical_block"`
}

// Trouble is what was met when a device was read.
type Trouble struct {
	// Unread says what could not be read of the device, or contradicts itself, in
	// one line: other fields may be missing, and no map is made of them.
	Unread string `json:"unread,omitempty"`
	// LowerUnknown: Slaves, or Part, is among what could not be read.
	LowerUnknown bool `json:"blind,omitempty"`

	cause error
	// unnamed: nor can what it calls itself be relied upon.
	unnamed bool
}

// Related is why it is not known to what other devices the device is related: nil for most of
// those with Unread.
func (f *Facts) Related() error {
	if f.LowerUnknown || f.unnamed {
		return sysfs.Named(f.Dev, f.Name, f.cause)
	}
	return nil
}

// Reasons for devices of which something could not be read.
const (
	ReasonUnread remap.Reason = "layer:unread"
	// ReasonBlind: what such a device is made of is not known either.
	ReasonBlind remap.Reason = "layer:unread-below"
)

// Cause is the error that Unread tells; nil for a device that was read as a
// whole, and for a stored one.
func (f *Facts) Cause() error { return f.cause }

// MarkUnread notes that something about the device could not be read, or contradicts
// itself.
func (f *Facts) MarkUnread(cause error) {
	f.Unread, f.cause = printable(cause), cause
}

// printable makes one printable line of the text of an error: it is stored, and
// may hold what somebody else has written.
func printable(err error) string {
	return strings.Map(func(c rune) rune {
		if !unicode.IsPrint(c) {
			return ' '
		}
		return c
	}, strings.ReplaceAll(err.Error(), "\n", "; "))
}

// Part is where a partition lies on its disk.
type Part struct {
	Number int          `json:"number"`
	Start  remap.Sector `json:"start"`
	Parent remap.Dev    `json:"parent"`
}

// Path is the node of the device, "/dev/nvme0n1".
func (f *Facts) Path() string { return DevPath(f.Name) }

// Stacked tells whether the device is made of other devices or of files.
func (f *Facts) Stacked() bool {
	return f.Kind == Partition || f.Kind == DM || stackers[f.Kind] || len(f.Slaves) > 0
}

// Layer maps a partition. Every other device that is made of others is opaque
// with its kind as the reason; it is nil for a leaf. Who can map such a device
// replaces the layer.
func (f *Facts) Layer() remap.Layer {
	switch {
	case f.Unread != "":
		return f.unreadLayer()
	case f.Part != nil:
		return remap.Shifted{Layer: "partition", Dev: f.Part.Parent, Start: f.Part.Start}
	case f.Stacked():
		return remap.OpaqueLayer{Layer: string(f.Kind), Reason: remap.Reason("layer:" + f.Kind), Lower: f.Slaves}
	}
	return nil
}

// unreadLayer is opaque, and rests on what is known of below.
func (f *Facts) unreadLayer() remap.Layer {
	l := remap.OpaqueLayer{Layer: string(f.Kind), Reason: ReasonUnread, Lower: f.Slaves}
	if f.Part != nil {
		l.Lower = []remap.Dev{f.Part.Parent}
	}
	if f.LowerUnknown {
		l.Reason = ReasonBlind
	}
	return l
}

// Leaf describes the device as a leaf; it is nil for a device that is made of
// others, or of which something could not be read.
func (f *Facts) Leaf() *remap.Leaf {
	if f.Stacked() || f.Unread != "" {
		return nil
	}
	leaf := &remap.Leaf{Zoned: f.Zoned, WriteCache: f.WriteCache, KernelCopy: int64(f.KernelCopy)}
	if f.Disk == nil {
		return leaf
	}
	leaf.Identity = f.Disk.Identity()
	switch f.Kind {
	case NVMe, SCSI, Virtio:
		leaf.Driver = string(f.Kind)
	}
	if ns := f.Disk.NVMe; ns != nil {
		leaf.NVMe = &remap.NVMeLeaf{NSID: ns.NSID, Subsystem: ns.SubsystemNQN, Serial: ns.Serial, Generic: ns.Generic}
		if !ns.Multipath && len(ns.Controllers) == 1 {
			leaf.NVMe.Controller = ns.Controllers[0]
		}
	}
	return leaf
}

// Devs lists all block devices, in order of number.
func (f FS) Devs() ([]remap.Dev, error) {
	root := string(f.Root().Blocks())
	entries, err := os.ReadDir(root)
	if err != nil {
		return nil, sysfs.About(root, err)
	}
	devs := make([]remap.Dev, 0, len(entries))
	for _, entry := range entries {
		dev, err := remap.ParseDev(entry.Name())
		if err != nil {
			return nil, sysfs.About(root, err)
		}
		devs = append(devs, dev)
	}
	sysfs.SortDevs(devs)
	return devs, nil
}

// Facts reads the facts of a device. If it vanishes meanwhile, or its number
// is given to another device, the error is ErrGone. What else goes wrong is noted
// in the facts: Unread.
func (f FS) Facts(dev remap.Dev) (*Facts, error) {
	d, err := f.Root().Find(dev)
	if err != nil {
		return nil, sysfs.About(dev.String(), sysfs.Gone(err))
	}
	facts, err := f.read(dev, d)
	if err != nil || f.Root().Left(dev, d) {
		return nil, sysfs.Named(dev, d.Name(), ErrGone)
	}
	return facts, nil
}

// read reads all facts; the disk's sequence number at both ends. The error is
// ErrGone for a disk that took the place of another one meanwhile.
func (f FS) read(dev remap.Dev, d sysfs.Dir) (*Facts, error) {
	facts := &Facts{Dev: dev, Name: d.Name(), Kind: stem(d.Name())}
	disk, partErr := facts.readPart(d)
	seq, seqErr := diskSeq(disk)
	facts.DiskSeq = seq
	slavesErr := facts.readSlaves(d)
	kindErr := facts.readKind(f, d)
	errs := []error{partErr, seqErr, facts.readSize(d), facts.readQueue(disk), slavesErr, facts.readHolders(d), kindErr}
	again, err := diskSeq(disk)
	if err == nil && seqErr == nil && again != seq {
		return nil, ErrGone
	}
	facts.LowerUnknown, facts.unnamed = partErr != nil || slavesErr != nil, kindErr != nil
	for _, err := range append(errs, err) {
		if err != nil {
			facts.MarkUnread(err)
			break // one is enough: the others say much the same
		}
	}
	return facts, nil
}

// readPart reads what only partitions have, and returns the directory of the
// disk: its own one for a disk.
func (f *Facts) readPart(d sysfs.Dir) (disk sysfs.Dir, err error) {
	isPart, err := d.Has("partition")
	if err != nil || !isPart {
		return d, err
	}
	disk = sysfs.Dir(filepath.Dir(string(d)))
	number, err := d.Number("partition", 31)
	if err != nil {
		return disk, err
	}
	start, err := d.Sectors("start")
	if err != nil {
		return disk, err
	}
	parent, err := disk.Dev("dev")
	if err != nil {
		return disk, err
	}
	f.Kind, f.Part = Partition, &Part{Number: int(number), Start: start, Parent: parent}
	return disk, nil
}

func (f *Facts) readSize(d sysfs.Dir) (err error) {
	if f.Size, err = d.Sectors("size"); err != nil {
		return err
	}
	f.ReadOnly, err = d.Bool("ro")
	return err
}

// readQueue reads the limits of the disk (Documentation/ABI/stable/sysfs-block).
func (f *Facts) readQueue(disk sysfs.Dir) error {
	logical, err := disk.Number("queue/logical_block_size", 31)
	if err != nil {
		return err
	}
	physical, err := disk.Number("queue/physical_block_size", 31)
	if err != nil {
		return err
	}
	if logical < remap.SectorSize || logical&(logical-1) != 0 {
		return sysfs.BadValue(disk.Path("queue/logical_block_size"), fmt.Sprint(logical), "a power of two from 512 up")
	}
	f.LogicalBlock, f.PhysicalBlock = int(logical), int(physical)
	if f.Zoned, err = disk.OneOf("queue/zoned", "none", "host-managed", "host-aware"); err != nil {
		return err
	}
	if f.WriteCache, err = disk.OneOf("queue/write_cache", "write back", "write through"); err != nil {
		return err
	}
	const kernelCopy = "queue/copy_max_hw_bytes"
	if known, err := disk.Has(kernelCopy); err != nil || !known {
		return err
	}
	f.KernelCopy, err = disk.Number(kernelCopy, 63)
	return err
}

// readSlaves reads which devices stand below. Partitions have none.
func (f *Facts) readSlaves(d sysfs.Dir) (err error) {
	if f.Part != nil {
		return nil
	}
	f.Slaves, err = d.Devs("slaves")
	return err
}

// readHolders reads which devices stand above. One that does not tell its number is
// not among them: what is odd above is no fault of this device.
func (f *Facts) readHolders(d sysfs.Dir) error {
	entries, err := os.ReadDir(d.Path("holders"))
	for _, entry := range entries {
		if dev, err := d.Dev(filepath.Join("holders", entry.Name(), "dev")); err == nil {
			f.Holders = append(f.Holders, dev)
		}
	}
	sysfs.SortDevs(f.Holders)
	return err
}

func diskSeq(disk sysfs.Dir) (uint64, error) {
	known, err := disk.Has("diskseq")
	if err != nil || !known {
		return 0, err
	}
	return disk.Number("diskseq", 64)
}

// readKind finds out which driver made the device.
func (f *Facts) readKind(fs FS, d sysfs.Dir) error {
	if f.Part != nil {
		return nil
	}
	// The directory comes after the device, and goes before it (drivers/md/dm.c,
	// dm_setup_md_queue and cleanup_mapped_device); the name is its own.
	if strings.HasPrefix(f.Name, "dm-") {
		f.Kind = DM
	}
	for _, kind := range []Kind{DM, MD} {
		found, err := d.Has(string(kind))
		if err != nil {
			return err
		}
		if found {
			f.Kind = kind
			return nil
		}
	}
	if f.Kind == DM {
		return nil
	}
	return f.readDisk(fs, d)
}

// stem cuts a kernel name at its first digit: "loop0" is of kind "loop".
func stem(name string) Kind {
	if i := strings.IndexAny(name, "0123456789"); i > 0 {
		name = name[:i]
	}
	return Kind(name)
}

// Kernel is the release of the running kernel.
func (f FS) Kernel() (string, error) {
	release, err := sysfs.Dir(f.Root().Path("proc/sys/kernel")).Text("osrelease")
	if err != nil {
		return "", sysfs.About("kernel release", err)
	}
	return release, nil
}
