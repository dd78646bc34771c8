package sysblock

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/remap"
)

// UseKind says how a device or a file is used.
type UseKind string

const (
	// MountedRW: a file system on it is mounted and may write.
	MountedRW UseKind = "mounted read-write"
	// MountedRO: a file system on it is mounted read-only.
	MountedRO UseKind = "mounted read-only"
	// Swap: it is swap space.
	Swap UseKind = "swap"
	// Held: another device is made of it.
	Held UseKind = "held"
	// HeldRO: another device is made of it, which is read-only.
	HeldRO UseKind = "held read-only"
	// Stored: it is the storage of a loop device.
	Stored UseKind = "stored"
	// StoredRO: it is the storage of a loop device that is read-only.
	StoredRO UseKind = "stored read-only"
	// Member: it belongs to a file system of several devices that is mounted
	// or was opened.
	Member UseKind = "member"
	// Exported: a target of the kernel offers it to others.
	Exported UseKind = "exported"
	// Opened: a process has it open for writing.
	Opened UseKind = "open for writing"
	// Output: this process writes its output there.
	Output UseKind = "the output of this program"
	// Unseen: somebody has it open for writing who does not show as a process.
	Unseen UseKind = "open for writing, unseen"
	// Locked: a process has locked it as a whole for itself (flock(2)).
	Locked UseKind = "locked"
	// LockedRO: a process has locked it against those who write.
	LockedRO UseKind = "locked against writers"
)

// Writes tells whether whoever uses a device so may write to it.
func (k UseKind) Writes() bool {
	return k != MountedRO && k != HeldRO && k != StoredRO && k != LockedRO
}

// Use is one use of a device or a file.
type Use struct {
	Kind UseKind
	// Dev is the device that is used so: the one asked about, a partition of it, the
	// disk that it is a partition of, or a device that is made of it; zero for a file.
	Dev  remap.Dev
	Name string // of Dev
	// Detail is the mount point, the holder, the file system, the target or the process.
	Detail string
	// Path is the disk that Dev is, or is a part of, or that it is made of, if that
	// is another one with the name of the disk asked about, and so is taken for another
	// path to it.
	Path string
	// What [FS.Used] tells besides: what package blockio calls the device or file, and of
	// what a process has open, which one, whether it runs this same program, and whether it
	// is a command of LVM, which has physical volumes open for writing for a while.
	ID  string
	PID int
	Own bool
	LVM bool
}

func (u Use) String() string {
	text := u.Name + " is " + string(u.Kind) + ": " + u.Detail
	if u.Path != "" {
		text += " (by " + u.Path + ")"
	}
	return text
}

// Users lists who uses a device: directly, through its partitions, through the disk
// that it is a partition of, through the devices that are made of it, with or without a link
// in sysfs, and by other paths to its disk. An empty list is no proof that nobody does. That is
// for an exclusive open to find out, as far as users claim what they use; not all do.
func (f FS) Users(dev remap.Dev) ([]Use, error) {
	u, err := f.newUsers()
	if err != nil {
		return nil, err
	}
	facts, err := f.Facts(dev)
	if err == nil {
		err = facts.related()
	}
	if err != nil {
		return nil, err
	}
	if u.reachedBy, err = f.subsystem(facts); err != nil {
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
func (f FS) subsystem(facts *Facts) (string, error) {
	if facts.Part != nil {
		disk, err := f.Facts(facts.Part.Parent)
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

// FileUsers lists who uses a regular file, which package blockio calls by that ID and
// this process by that path: as the storage of loop devices, and whatever is made of these, as
// swap space, for writing, or by a lock (flock(2)), also by another name that it may have: see
// package alias. Processes that run this same program are left out: copies lock what they write, and
// can share a file by one name.
func (f FS) FileUsers(path, id string) ([]Use, error) {
	u, err := f.newUsers()
	if err != nil {
		return nil, err
	}
	copies := false
	u.writers = slices.DeleteFunc(u.writers, func(w writer) bool {
		is := w.id == id && !f.isAnother(w.Process)
		copies = copies || is
		return is
	})
	u.join(path, id)
	if err := u.stored(id, &Facts{}); err != nil {
		return nil, err
	}
	file, err := f.openToAsk(path, id)
	switch {
	case errors.Is(err, fs.ErrPermission), errors.Is(err, unix.EWOULDBLOCK),
		errors.Is(err, fs.ErrNotExist), errors.Is(err, ErrGone): // it has not that name any more
		return u.uses, nil // who opens it will be told
	}
	if err != nil {
		return nil, &Error{path, err}
	}
	return u.uses, errors.Join(u.asked(file, id, copies), file.Close())
}

// asked adds the users of a file who show when the file itself is asked.
func (u *users) asked(file *openFile, id string, copies bool) error {
	locks, err := u.fs.locksOf(file, u.mounts)
	if err != nil {
		return err
	}
	for _, l := range locks {
		if p := u.fs.process(l.pid); u.fs.isAnother(p) {
			u.add(l.kind, &Facts{}, p.String())
		}
	}
	if len(u.uses) > 0 || copies {
		return nil
	}
	return u.outOfSight(file, id)
}

// looks is how often somebody has to be out of sight to be so, and not just on his way.
const looks = 3

// outOfSight adds somebody who has a file open for writing and is none of those who are
// seen: another one, who comes or goes at the same time, is found by looking again.
func (u *users) outOfSight(file *openFile, id string) error {
	for range looks {
		if !file.written(u.mounts) {
			return nil
		}
		own, err := u.fs.written("proc/self", nil)
		if err != nil || slices.ContainsFunc(own, func(o opened) bool { return o.id == id }) {
			return err
		}
		now, err := u.fs.writers(u.mounts)
		if err != nil {
			return err
		}
		for _, w := range now {
			if w.id != id {
				continue
			}
			if u.fs.isAnother(w.Process) {
				u.add(Opened, &Facts{}, w.String())
			}
			return nil
		}
	}
	u.add(Unseen, &Facts{}, "somebody who does not show in /proc")
	return nil
}

// users walks a device, its partitions and everything that is made of them.
type users struct {
	fs      FS
	mounts  []Mount
	swaps   []swapArea
	members map[remap.Dev][]string
	loops   []boundLoop
	exports []export
	writers []writer
	outputs []output

	// reachedBy is the NVMe subsystem that leads to the device: this machine may export it
	// to itself.
	reachedBy string
	path      string // see Use
	seen      map[remap.Dev]bool
	uses      []Use
}

// newUsers looks around once for all devices.
func (f FS) newUsers() (u *users, err error) {
	u = &users{fs: f, seen: make(map[remap.Dev]bool)}
	if u.mounts, err = f.AllMounts(); err != nil {
		return nil, err
	}
	if u.swaps, err = f.swaps(roots(u.mounts)); err != nil {
		return nil, err
	}
	if u.members, err = f.btrfsMembers(); err != nil {
		return nil, err
	}
	if u.loops, err = f.loops(); err != nil {
		return nil, err
	}
	if u.exports, err = f.exports(); err != nil {
		return nil, err
	}
	u.outputs = f.outputs()
	u.writers, err = f.writers(u.mounts)
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

func (u *users) add(kind UseKind, f *Facts, detail string) {
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
		err = facts.related()
	}
	if err != nil {
		return err
	}
	u.direct(facts)
	// The facts leave out what cannot be read of those above; nobody does who asks for users.
	holders, err := dir(u.fs.path("sys/dev/block", dev.String())).devs("holders")
	if err != nil {
		return named(dev, facts.Name, err)
	}
	sortDevs(holders)
	for _, holder := range holders {
		if err := u.held(facts, holder); err != nil {
			return err
		}
	}
	parts, err := u.fs.Partitions(facts)
	if err != nil {
		return err
	}
	if err := u.stored(blockID(dev), facts); err != nil {
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
		err = facts.related()
	}
	if err != nil {
		return err
	}
	u.direct(facts)
	holders, err := dir(u.fs.path("sys/dev/block", disk.String())).devs("holders")
	if err != nil {
		return named(disk, facts.Name, err)
	}
	for _, holder := range holders {
		if err := u.held(facts, holder); err != nil {
			return err
		}
	}
	return u.stored(blockID(disk), facts)
}

// direct lists who uses the device itself.
func (u *users) direct(facts *Facts) {
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
func (u *users) output(id string, facts *Facts) {
	for _, o := range u.outputs {
		if o.id == id {
			u.add(Output, facts, o.what)
		}
	}
}

// mounted lists where the device or file is mounted, once as this process sees it if it does.
func (u *users) mounted(facts *Facts, is func(*Mount) bool) {
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
func leadsTo(controller string, facts *Facts) bool {
	return facts.Disk != nil && facts.Disk.NVMe != nil && slices.Contains(facts.Disk.NVMe.Controllers, controller)
}

// reaches tells whether the device is seen through this very export.
func (u *users) reaches(e *export) bool { return e.nqn != "" && e.nqn == u.reachedBy }

// held adds a device that is made of another one.
func (u *users) held(facts *Facts, holder remap.Dev) error {
	name, err := u.fs.name(holder)
	if err != nil {
		return err
	}
	return u.made(Held, HeldRO, facts, name)
}

// made adds a device that is made of another one, or of a file.
func (u *users) made(kind, readOnly UseKind, facts *Facts, upper string) error {
	is, err := dir(u.fs.path("sys/class/block", upper)).bool("ro")
	if err != nil {
		return &Error{upper, goneIfVanished(err)}
	}
	if is {
		kind = readOnly
	}
	u.add(kind, facts, upper)
	return nil
}

// stored lists who uses a device or file by what the kernel knows it by, and all
// above the loop devices that it is the storage of.
func (u *users) stored(id string, facts *Facts) error {
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
func (u *users) otherPaths(facts *Facts) error {
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

// name is the kernel's name of a device.
func (f FS) name(dev remap.Dev) (string, error) {
	d, err := filepath.EvalSymlinks(f.path("sys/dev/block", dev.String()))
	if err != nil {
		return "", &Error{dev.String(), goneIfVanished(err)}
	}
	return filepath.Base(d), nil
}

// Partitions lists the partitions of a disk.
func (f FS) Partitions(disk *Facts) ([]remap.Dev, error) {
	if disk.Part != nil {
		return nil, nil
	}
	d := f.path("sys/dev/block", disk.Dev.String())
	entries, err := os.ReadDir(d)
	if err != nil {
		return nil, &Error{disk.Name, err}
	}
	var parts []remap.Dev
	for _, entry := range entries {
		if !entry.IsDir() || !strings.HasPrefix(entry.Name(), disk.Name) {
			continue
		}
		part := dir(filepath.Join(d, entry.Name()))
		if is, err := part.has("partition"); err != nil || !is {
			if err != nil {
				return nil, &Error{disk.Name, err}
			}
			continue
		}
		dev, err := part.dev("dev")
		if err != nil {
			return nil, &Error{disk.Name, err}
		}
		parts = append(parts, dev)
	}
	sortDevs(parts)
	return parts, nil
}

// btrfsMembers reads which devices belong to which btrfs, by uuid: mountinfo
// names but one of them.
func (f FS) btrfsMembers() (map[remap.Dev][]string, error) {
	links, err := filepath.Glob(f.path("sys/fs/btrfs/*/devices/*"))
	if err != nil {
		return nil, err
	}
	members := make(map[remap.Dev][]string)
	for _, link := range links {
		dev, err := dir(link).dev("dev")
		if vanished(err) {
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
