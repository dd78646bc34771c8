package inuse

import (
	"path/filepath"
	"slices"

	"github.com/dmcopy/dmcopy/internal/sysblock"
	"github.com/dmcopy/dmcopy/internal/sysfs"
	"github.com/dmcopy/dmcopy/remap"
)

// Users lists who uses a device: directly, through its partitions, through the disk
// that it is a partition of, through the devices that are made of it, with or without a link
// in sysfs, and by other paths to its disk. An empty list is no proof that nobody does. That is
// for an exclusive open to find out, as far as users claim what they use; not all do.
func Users(sys sysblock.FS, dev remap.Dev) ([]Use, error) {
	u, err := newUsers(sys)
	if err != nil {
		return nil, err
	}
	facts, err := sys.Facts(dev)
	if err == nil {
		err = facts.Related()
	}
	if err != nil {
		return nil, err
	}
	if u.reachedBy, err = subsystem(sys, facts); err != nil {
		return nil, err
	}
	if err := u.visit(dev); err != nil {
		return nil, err
	}
	if facts.Part != nil {
		if err := u.only(facts.Part.Parent); err != nil {
			return nil, err
		}
	}
	return u.uses, u.otherPaths(facts)
}

// subsystem is the NVMe subsystem that leads to a device or to the disk that it is a
// partition of; "" for others.
func subsystem(sys sysblock.FS, facts *sysblock.Facts) (string, error) {
	if facts.Part != nil {
		disk, err := sys.Facts(facts.Part.Parent)
		if err != nil {
			return "", err
		}
		facts = disk
	}
	if facts.Disk == nil || facts.Disk.NVMe == nil {
		return "", nil
	}
	return facts.Disk.NVMe.SubsystemNQN, nil
}

// users walks a device, its partitions and everything that is made of them.
type users struct {
	fs        sysblock.FS
	processes processes
	names     names
	mounts    []Mount
	swaps     []swapArea
	members   map[remap.Dev][]string
	loops     []boundLoop
	exports   []export
	writers   []writer
	outputs   []output

	// reachedBy is the NVMe subsystem that leads to the device: this machine may export it
	// to itself.
	reachedBy string
	path      string // see Use
	seen      map[remap.Dev]bool
	uses      []Use
}

// newUsers looks around once for all devices.
func newUsers(sys sysblock.FS) (u *users, err error) {
	root := sys.Root()
	u = &users{fs: sys, processes: processes{root}, names: names{root}, seen: make(map[remap.Dev]bool)}
	if u.mounts, err = AllMounts(sys); err != nil {
		return nil, err
	}
	if u.swaps, err = readSwaps(root, roots(u.mounts)); err != nil {
		return nil, err
	}
	if u.members, err = btrfsMembers(root); err != nil {
		return nil, err
	}
	if u.loops, err = readLoops(sys); err != nil {
		return nil, err
	}
	if u.exports, err = u.names.exports(); err != nil {
		return nil, err
	}
	u.outputs = outputs(root)
	u.writers, err = u.processes.writers(u.mounts)
	return u, err
}

// roots are the directories that files are found below by the names that they have in
// any of the namespaces that the mounts are of.
func roots(mounts []Mount) []string {
	all := []string{""}
	for i := range mounts {
		if root := mounts[i].Seer.root(); !slices.Contains(all, root) {
			all = append(all, root)
		}
	}
	return all
}

func (u *users) add(kind UseKind, f *sysblock.Facts, detail string) {
	u.uses = append(u.uses, Use{Kind: kind, Dev: f.Dev, Name: f.Name, Detail: detail, Path: u.path})
}

// visit lists the uses of a device and of all above it.
func (u *users) visit(dev remap.Dev) error {
	if u.seen[dev] {
		return nil
	}
	u.seen[dev] = true
	facts, err := u.fs.Facts(dev)
	if err == nil {
		err = facts.Related()
	}
	if err != nil {
		return err
	}
	u.direct(facts)
	// The facts leave out what cannot be read of those above; nobody does who asks for users.
	holders, err := u.fs.Root().Block(dev).Devs("holders")
	if err != nil {
		return sysfs.Named(dev, facts.Name, err)
	}
	sysfs.SortDevs(holders)
	for _, holder := range holders {
		if err := u.held(facts, holder); err != nil {
			return err
		}
	}
	parts, err := u.fs.Partitions(facts)
	if err != nil {
		return err
	}
	if err := u.stored(sysfs.BlockID(dev), facts); err != nil {
		return err
	}
	for _, upper := range append(parts, holders...) {
		if err := u.visit(upper); err != nil {
			return err
		}
	}
	return nil
}

// only lists the uses of a disk as a whole, without those of its partitions.
func (u *users) only(disk remap.Dev) error {
	if u.seen[disk] {
		return nil
	}
	u.seen[disk] = true
	facts, err := u.fs.Facts(disk)
	if err == nil {
		err = facts.Related()
	}
	if err != nil {
		return err
	}
	u.direct(facts)
	holders, err := u.fs.Root().Block(disk).Devs("holders")
	if err != nil {
		return sysfs.Named(disk, facts.Name, err)
	}
	for _, holder := range holders {
		if err := u.held(facts, holder); err != nil {
			return err
		}
	}
	return u.stored(sysfs.BlockID(disk), facts)
}

// direct lists who uses the device itself.
func (u *users) direct(facts *sysblock.Facts) {
	for _, l := range u.loops {
		if l.dev == facts.Dev {
			u.output(l.storage, facts)
		}
	}
	u.mounted(facts, func(m *Mount) bool { return m.Dev == facts.Dev || m.SourceDev == facts.Dev })
	for _, id := range u.members[facts.Dev] {
		u.add(Member, facts, "btrfs "+id)
	}
	for i := range u.exports {
		if e := &u.exports[i]; e.controller != "" && leadsTo(e.controller, facts) && !u.reaches(e) {
			u.add(Exported, facts, e.what)
		}
	}
}

// output adds that this process writes its output to what the kernel knows by that ID.
func (u *users) output(id string, facts *sysblock.Facts) {
	for _, o := range u.outputs {
		if o.id == id {
			u.add(Output, facts, o.what)
		}
	}
}

// mounted lists where the device or file is mounted, once as this process sees it if it does.
func (u *users) mounted(facts *sysblock.Facts, is func(*Mount) bool) {
	seen := make(map[UseKind]bool)
	for i := range u.mounts {
		m := &u.mounts[i]
		if !is(m) {
			continue
		}
		if m.Seer.PID == 0 || !seen[m.kind()] {
			u.add(m.kind(), facts, m.where())
		}
		seen[m.kind()] = true
	}
}

// leadsTo tells whether an NVMe controller leads to the device.
func leadsTo(controller string, facts *sysblock.Facts) bool {
	return facts.Disk != nil && facts.Disk.NVMe != nil && slices.Contains(facts.Disk.NVMe.Controllers, controller)
}

// reaches tells whether the device is seen through this very export.
func (u *users) reaches(e *export) bool { return e.nqn != "" && e.nqn == u.reachedBy }

// held adds a device that is made of another one.
func (u *users) held(facts *sysblock.Facts, holder remap.Dev) error {
	name, err := u.fs.Name(holder)
	if err != nil {
		return err
	}
	return u.made(Held, HeldRO, facts, name)
}

// made adds a device that is made of another one, or of a file.
func (u *users) made(kind, readOnly UseKind, facts *sysblock.Facts, upper string) error {
	is, err := u.fs.Root().Class("block", upper).Bool("ro")
	if err != nil {
		return sysfs.About(upper, sysfs.Gone(err))
	}
	if is {
		kind = readOnly
	}
	u.add(kind, facts, upper)
	return nil
}

// stored lists who uses a device or file by what the kernel knows it by, and all
// above the loop devices that it is the storage of.
func (u *users) stored(id string, facts *sysblock.Facts) error {
	u.output(id, facts)
	u.mounted(facts, func(m *Mount) bool { return m.SourceID == id })
	for _, s := range u.swaps {
		if slices.Contains(s.ids, id) {
			u.add(Swap, facts, s.path)
		}
	}
	for i := range u.exports {
		if e := &u.exports[i]; e.id == id && !u.reaches(e) {
			u.add(Exported, facts, e.what)
		}
	}
	for _, w := range u.writers {
		if w.id == id {
			u.add(Opened, facts, w.String())
		}
	}
	for _, l := range u.loops {
		if l.storage != id {
			continue
		}
		if err := u.made(Stored, StoredRO, facts, l.name); err != nil {
			return err
		}
		if err := u.visit(l.dev); err != nil {
			return err
		}
	}
	return nil
}

// otherPaths lists the uses by other paths to the disk of a device.
func (u *users) otherPaths(facts *sysblock.Facts) error {
	others, err := u.fs.OtherPaths(facts)
	if err != nil {
		return err
	}
	for _, o := range others {
		u.path = o.Name
		if facts.Part == nil {
			o.Parts = []remap.Dev{o.Disk}
		}
		for _, dev := range o.Parts {
			if err := u.visit(dev); err != nil {
				return err
			}
		}
		if err := u.only(o.Disk); err != nil {
			return err
		}
	}
	return nil
}

// btrfsMembers reads which devices belong to which btrfs, by uuid: mountinfo
// names but one of them.
func btrfsMembers(root sysfs.Root) (map[remap.Dev][]string, error) {
	links, err := filepath.Glob(root.Path("sys/fs/btrfs/*/devices/*"))
	if err != nil {
		return nil, err
	}
	members := make(map[remap.Dev][]string)
	for _, link := range links {
		dev, err := sysfs.Dir(link).Dev("dev")
		if sysfs.Vanished(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		id := filepath.Base(filepath.Dir(filepath.Dir(link)))
		members[dev] = append(members[dev], id)
	}
	return members, nil
}
