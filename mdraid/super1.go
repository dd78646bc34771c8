package mdraid

import (
	"encoding/binary"
	"math"
	"strings"

	"github.com/dmcopy/dmcopy/remap"
)

// Places in a superblock of version 1, little-endian (struct mdp_superblock_1 in
// include/uapi/linux/raid/md_p.h).
const (
	sb1Major       = 4
	sb1Features    = 8
	sb1Set         = 16
	sb1Name        = 32
	sb1Level       = 72
	sb1Layout      = 76
	sb1Size        = 80
	sb1Chunk       = 88
	sb1RaidDisks   = 92
	sb1DataOffset  = 128
	sb1DataSize    = 136
	sb1SuperOffset = 144
	sb1Recovery    = 152
	sb1Number      = 160
	sb1Device      = 168
	sb1Events      = 200
	sb1Resync      = 208
	sb1Sum         = 216
	sb1MaxDev      = 220
	sb1Roles       = 256
)

// Features (MD_FEATURE_*). Others are refused, as md does.
const (
	featureRecovery = 1 << 1
	featureReshape  = 1 << 2
	featuresKnown   = 1<<13 - 1
)

// maxDev is how many roles fit.
const maxDev = (superBytes - sb1Roles) / 2

// parseSuper1 reads a superblock of version 1 that begins at sector at.
func parseSuper1(b []byte, at remap.Sector) (*Super, error) {
	le := binary.LittleEndian
	if le.Uint32(b) != superMagic || le.Uint32(b[sb1Major:]) != 1 || le.Uint64(b[sb1SuperOffset:]) != uint64(at) {
		return nil, ErrNoSuper
	}
	count := le.Uint32(b[sb1MaxDev:])
	if count > maxDev {
		return nil, badSuper("%d roles", count)
	}
	if got, want := le.Uint32(b[sb1Sum:]), sum1(b, int(count)); got != want {
		return nil, badSuper("checksum %08x, computed %08x", got, want)
	}
	features := le.Uint32(b[sb1Features:])
	if features&^featuresKnown != 0 {
		return nil, badSuper("features %#x", features)
	}
	s := &Super{
		Name:      strings.TrimRight(string(b[sb1Name:sb1Name+32]), "\x00"),
		Level:     int(int32(le.Uint32(b[sb1Level:]))),
		Layout:    int64(int32(le.Uint32(b[sb1Layout:]))),
		Chunk:     remap.Sector(le.Uint32(b[sb1Chunk:])),
		RaidDisks: int(le.Uint32(b[sb1RaidDisks:])),
		Events:    le.Uint64(b[sb1Events:]),
		Progress:  Progress{Reshape: features&featureReshape != 0, Recovered: remap.MaxSectors, Synced: remap.MaxSectors},
		Role:      role(b, le.Uint32(b[sb1Number:]), count),
	}
	copy(s.Set[:], b[sb1Set:])
	copy(s.Device[:], b[sb1Device:])
	return s, s.positions1(b, features)
}

// positions1 reads what counts sectors.
func (s *Super) positions1(b []byte, features uint32) (err error) {
	for _, field := range []struct {
		to *remap.Sector
		at int
	}{{&s.Component, sb1Size}, {&s.DataOffset, sb1DataOffset}, {&s.DataSize, sb1DataSize}} {
		if *field.to, err = sectors(binary.LittleEndian.Uint64(b[field.at:])); err != nil {
			return err
		}
	}
	if resync := binary.LittleEndian.Uint64(b[sb1Resync:]); resync != math.MaxUint64 {
		if s.Synced, err = sectors(resync); err != nil {
			return err
		}
	}
	if features&featureRecovery != 0 {
		s.Recovered, err = sectors(binary.LittleEndian.Uint64(b[sb1Recovery:]))
	}
	return err
}

// role is what the member with that number is there for.
func role(b []byte, number, count uint32) int {
	if number >= count {
		return RoleSpare
	}
	switch r := binary.LittleEndian.Uint16(b[sb1Roles+2*int(number):]); r {
	case 0xffff:
		return RoleSpare
	case 0xfffe:
		return RoleFaulty
	case 0xfffd:
		return RoleJournal
	default:
		return int(r)
	}
}

// sum1 is the checksum over the superblock and its roles, the place of the sum
// itself left out (drivers/md/md.c, calc_sb_1_csum).
func sum1(b []byte, count int) uint32 {
	sum, size := uint64(0), sb1Roles+2*count
	for i := 0; i+4 <= size; i += 4 {
		if i != sb1Sum {
			sum += uint64(binary.LittleEndian.Uint32(b[i:]))
		}
	}
	if size%4 == 2 {
		sum += uint64(binary.LittleEndian.Uint16(b[size-2:]))
	}
	return uint32(sum) + uint32(sum>>32)
}
