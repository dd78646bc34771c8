package dmtable

import (
	"encoding/binary"
	"fmt"

	"github.com/dmcopy/dmcopy/remap"
)

// RaidSuper is what the superblock of a member of an array says of the array
// (drivers/md/dm-raid.c, struct dm_raid_superblock).
type RaidSuper struct {
	Members int64 `json:"members"`
	Level   int64 `json:"level"`
	Layout  int64 `json:"layout"`
	// Chunk and Sectors, what a member holds of the data, are in sectors.
	Chunk   remap.Sector `json:"chunk"`
	Sectors remap.Sector `json:"sectors"`
}

// RaidSuperSize is how much of a superblock [ParseRaidSuper] needs, in bytes.
const RaidSuperSize = 512

// Where the fields are in the superblock, little endian.
const (
	raidSuperMagic   = 0x64526D44 // "DmRd"
	atRaidMembers    = 8
	atRaidLevel      = 48
	atRaidLayout     = 52
	atRaidChunk      = 56
	atRaidSectors    = 112
	atRaidIncompat   = 144
	raidSuperReshape = 1 << 0 // of the flags
	atRaidFlags      = 60
)

// ParseRaidSuper reads a superblock. Its error wraps ErrBadTable.
func ParseRaidSuper(b []byte) (*RaidSuper, error) {
	if len(b) < RaidSuperSize {
		return nil, fmt.Errorf("%w: superblock of a raid member: %d bytes", ErrBadTable, len(b))
	}
	word := func(at int) uint32 { return binary.LittleEndian.Uint32(b[at:]) }
	sectors := binary.LittleEndian.Uint64(b[atRaidSectors:])
	switch {
	case word(0) != raidSuperMagic:
		return nil, fmt.Errorf("%w: superblock of a raid member: magic number %#x", ErrBadTable, word(0))
	case word(atRaidIncompat) != 0:
		return nil, fmt.Errorf("%w: superblock of a raid member: incompatible features %#x", ErrBadTable, word(atRaidIncompat))
	case word(atRaidFlags)&raidSuperReshape != 0:
		return nil, fmt.Errorf("%w: superblock of a raid member: reshape", ErrBadTable)
	case sectors == 0 || sectors > uint64(remap.MaxSectors):
		return nil, fmt.Errorf("%w: superblock of a raid member: %d sectors", ErrBadTable, sectors)
	}
	return &RaidSuper{
		Members: int64(word(atRaidMembers)), Level: int64(int32(word(atRaidLevel))), Layout: int64(int32(word(atRaidLayout))),
		Chunk: remap.Sector(word(atRaidChunk)), Sectors: remap.Sector(sectors),
	}, nil
}

// RaidMember tells on which device the superblock of the first member of an
// array is, if the map depends on it; it goes to RaidSuper. How far apart far
// copies are follows from the size that the members had when they were made
// (raid10.c, calc_sectors), and only the superblock tells that.
func (t *Target) RaidMember() (dev remap.Dev, ok bool) {
	if t.Type != typeRaid {
		return remap.Dev{}, false
	}
	var a args
	a.reset(t.Params)
	m := readRaid(&a)
	if !a.done() || m.options.format != raid10Far || len(m.meta) == 0 || m.meta[0].IsZero() {
		return remap.Dev{}, false
	}
	return m.meta[0], true
}

// agrees tells whether the superblock is that of an array whose members hold so
// many sectors.
func (s *RaidSuper) agrees(m *raid, part remap.Sector) bool {
	return s != nil && s.Members == int64(len(m.data)) && s.Level == raidTypes[m.typ].level && s.Layout == m.options.layout &&
		s.Chunk == m.chunk && s.Sectors == part
}
