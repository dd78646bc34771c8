package remap

// Node is one device of a snapshot.
type Node struct {
	Dev Dev
	// Name is the kernel's name, "nvme0n1" or "dm-3".
	Name string
	// Label is what people call the device, "vg-home"; empty if that is Name.
	Label string
	// Path opens the device, "/dev/dm-3".
	Path string
	// Size is the capacity in sectors.
	Size Sector
	// BlockSize is the logical block size in bytes.
	BlockSize int
	ReadOnly  bool
	// Layer maps the device; nil for a leaf.
	Layer Layer
	// Leaf describes a leaf, nil for every other device.
	Leaf *Leaf
	// Owner tells who manages a mapped device, and hence whom to ask to keep
	// its layout.
	Owner Owner
	// Storage is set for devices that are stored in something that is no
	// device, and that other devices may be stored in as well.
	Storage *Storage
	// Notes say for people what state the layers of the device are in, and
	// what follows from it: "leg sdb2 is recovering".
	Notes []string
	// Print is a digest of everything that the map and the identity of the
	// device depend on, transitions excepted. Equal prints mean an unchanged
	// device. Prints are comparable within one process only.
	Print Fingerprint
	Condition
	Quirks
}

// Condition is how far what is known of a device can be relied on, and for how long.
type Condition struct {
	// Unread tells that something about the device could not be read, or contradicts
	// itself: all of it is opaque, and its size may be wrong.
	Unread bool
	// LowerUnknown tells that what the device is made of is not known, or not all of it.
	LowerUnknown bool
	// Mutable tells that the kernel can swap what maps this device while it
	// is open: dm and md can, a partition cannot.
	Mutable bool
	// Transition is set while the layout is being changed or the device is
	// suspended, and says which.
	Transition string
}

// Quirks are what has to be heeded by who reads or writes below a device.
type Quirks struct {
	// Coordinated are the devices below that what maps this one shares with others like it:
	// it sees to it that none of them is in the way of another (the pool of a thin volume,
	// what snapshots are of, members of arrays).
	Coordinated []Dev
	// Bypassed tells that a file system above says block by block what this device leaves as
	// it is, because it is encrypted already: who reads or writes through it and is not
	// that file system gets, or makes, something else of those blocks.
	Bypassed bool
	// CopiesOnWrite tells that the map of this device gains entries without a change of
	// layout: that of a snapshot does, whenever somebody writes to its origin. Who has
	// read below the device resolves again afterwards, and reads again what has moved.
	CopiesOnWrite bool
	// Locked tells that the map for writing is true only while nobody uses
	// the lock of the volume group.
	Locked bool
	// Granule is the unit, in sectors, in which the device gives a place to what
	// has none when it is first written (a thin volume); 0 for all others.
	Granule Sector
}

// DisplayName is the name to print for people.
func (n *Node) DisplayName() string {
	if n.Label != "" {
		return n.Label
	}
	return n.Name
}

// Storage is something with room for several devices: the file of loop devices.
type Storage struct {
	// ID and Name are equal for two devices only if their storage may be the
	// same: an identity, and a path. Either may be empty, for unknown.
	ID, Name string
	// Start is where the device begins there. Ragged tells that it begins
	// within that sector.
	Start  Sector
	Ragged bool
	// Transformed tells that what is stored is not what the device shows.
	Transformed bool
}

// Same tells whether two devices may be stored in the same thing.
func (s *Storage) Same(o *Storage) bool {
	return s != nil && o != nil && (s.ID == o.ID && s.ID != "" || s.Name == o.Name && s.Name != "")
}

// Owner is the manager of a mapped device.
type Owner struct {
	// Manager is "lvm", "crypt", "mpath", … by the dm uuid, or "" if unknown.
	Manager string
	// Group is the volume group of an LVM device.
	Group string
	// Shared: other machines may change the group as well.
	Shared bool
}

// Leaf is what a device is below which nothing is mapped any more.
type Leaf struct {
	// Driver is "nvme", "scsi", "virtio" or "" for any other.
	Driver string
	// Identity is the most durable name that the device tells of itself.
	// Two leaves with the same identity are not proven to be one device.
	Identity string
	// NVMe is set for NVMe namespaces.
	NVMe *NVMeLeaf
	// Zoned is the zone model, "none" for ordinary disks.
	Zoned string
	// WriteCache is what the kernel believes of a volatile cache:
	// "write back" or "write through".
	WriteCache string
	// KernelCopy is the most bytes that the kernel itself would have the
	// device copy by one operation; 0 where it has no such facility.
	KernelCopy int64
}

// NVMeLeaf is where a namespace lives.
type NVMeLeaf struct {
	NSID       uint32
	Subsystem  string // NQN
	Serial     string
	Controller string // "nvme0"; empty below native multipath
	Generic    string // path of the character device "/dev/ng0n1", if any
}

// Fingerprint is a digest of one device's layout.
type Fingerprint [32]byte
