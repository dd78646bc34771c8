package mdraid

import (
	"errors"
	"fmt"
	"io"

	"github.com/dmcopy/dmcopy/internal/sysfs"
	"github.com/dmcopy/dmcopy/remap"
)

// superMagic is in both kinds of superblock (include/uapi/linux/raid/md_p.h,
// MD_SB_MAGIC).
const superMagic = 0xa92b4efc

// superBytes is how much of a device is read for a superblock, which never is
// longer (MD_SB_BYTES).
const superBytes = 4096

// Super is the superblock of a member. Lengths and positions are in sectors,
// on the member if nothing else is said.
type Super struct {
	// Version is "0.90", "1.0", "1.1" or "1.2".
	Version string
	// Set is the UUID of the array, Device that of the member, which version
	// 0.90 has not.
	Set, Device [16]byte
	// Name is "host:name", with version 1.
	Name      string
	Level     int
	Layout    int64
	Chunk     remap.Sector
	RaidDisks int
	// Component is how much of each member is used, 0 for raid0 and linear.
	Component remap.Sector
	// DataOffset and DataSize are where the member's data lies.
	DataOffset, DataSize remap.Sector
	// Events counts the changes of the array's state.
	Events uint64
	// Role is the slot, or one of the roles below.
	Role int
	Progress
}

// Progress is how far what md does by itself has come.
type Progress struct {
	// Reshape tells that the array is between two geometries.
	Reshape bool
	// Synced is the sector of the array from which on copies may differ.
	Synced remap.Sector
	// Recovered is the sector up to which the member is complete.
	Recovered remap.Sector
}

// Roles of members that hold no data.
const (
	RoleSpare   = -1
	RoleFaulty  = -2
	RoleJournal = -3
)

// ReadSuper reads the superblock of a member of size sectors. version is what
// metadata_version says; "" looks for one at each of the places. r is read in
// blocks of 4096 bytes at multiples of 4096.
func ReadSuper(r io.ReaderAt, size remap.Sector, version string) (*Super, error) {
	for _, place := range superPlaces {
		if version != "" && version != place.version {
			continue
		}
		s, err := place.read(r, size)
		if err == nil || !errors.Is(err, ErrNoSuper) {
			return s, err
		}
	}
	return nil, sysfs.About("superblock", ErrNoSuper)
}

// superPlace is where a version of the superblock is on a device.
type superPlace struct {
	version string
	// at is the first sector on a device of some size; negative if the device
	// is too small.
	at    func(size remap.Sector) remap.Sector
	parse func(b []byte, at remap.Sector) (*Super, error)
}

// superPlaces are in the order in which they are looked at (drivers/md/md.c,
// super_1_load and calc_dev_sboffset).
var superPlaces = []superPlace{
	{"1.1", func(remap.Sector) remap.Sector { return 0 }, parseSuper1},
	{"1.2", func(remap.Sector) remap.Sector { return 8 }, parseSuper1},
	{"1.0", func(size remap.Sector) remap.Sector { return (size - 16) &^ 7 }, parseSuper1},
	{"0.90", func(size remap.Sector) remap.Sector { return size&^127 - 128 }, parseSuper0},
}

func (p superPlace) read(r io.ReaderAt, size remap.Sector) (*Super, error) {
	at := p.at(size)
	if at < 0 || size > remap.MaxSectors || at > size-superBytes/remap.SectorSize {
		return nil, sysfs.Fail("superblock "+p.version, ErrNoSuper, "device of %d sectors", size)
	}
	b := make([]byte, superBytes)
	if n, err := r.ReadAt(b, at.Bytes()); n < len(b) {
		return nil, sysfs.About("superblock "+p.version, fmt.Errorf("sector %d: %w", at, err))
	}
	s, err := p.parse(b, at)
	if err != nil {
		return nil, sysfs.About("superblock "+p.version, err)
	}
	s.Version = p.version
	return s, nil
}

func badSuper(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrBadSuper, fmt.Sprintf(format, args...))
}

// sectors takes a length or position, if it is one.
func sectors(n uint64) (remap.Sector, error) {
	if n > uint64(remap.MaxSectors) {
		return 0, badSuper("%d sectors", n)
	}
	return remap.Sector(n), nil
}

// Agrees compares a superblock with what sysfs says of the member: a second
// opinion on geometry and offset. The error names the first difference.
func (s *Super) Agrees(a *Array, m *Member) error {
	f, bad := a.parse()
	l, badMember := m.parse()
	if bad != "" || badMember != "" {
		return sysfs.Fail(a.Name+"/"+m.Name, ErrBadArray, "%s%s is not understood", bad, badMember)
	}
	want := []struct {
		what         string
		super, sysfs int64
	}{
		{"chunk", int64(s.Chunk), int64(f.chunk)},
		{"disks", int64(s.RaidDisks), int64(f.disks)},
		{"component size", int64(s.Component &^ 1), int64(f.component)}, // sysfs prints KiB
		{"data offset", int64(s.DataOffset), int64(l.offset)},
	}
	if f.level != "raid0" && f.level != "linear" { // which store a layout not always, or none
		want = append(want, struct {
			what         string
			super, sysfs int64
		}{"layout", s.Layout, f.layout})
	}
	for _, w := range want {
		if w.super != w.sysfs {
			return sysfs.Fail(a.Name+"/"+m.Name, ErrDiffers, "%s %d and %d", w.what, w.super, w.sysfs)
		}
	}
	return nil
}
