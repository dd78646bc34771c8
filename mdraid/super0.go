package mdraid

import (
	"encoding/binary"

	"github.com/dmcopy/dmcopy/remap"
)

// Words of 32 bits in a superblock of version 0.90, in the byte order of the
// machine that wrote it (typedef struct mdp_superblock_s in
// include/uapi/linux/raid/md_p.h).
const (
	sb0Major      = 1
	sb0Minor      = 2
	sb0Set0       = 5
	sb0Level      = 7
	sb0Size       = 8 // KiB
	sb0RaidDisks  = 10
	sb0Set1       = 13 // and two more
	sb0State      = 33
	sb0Sum        = 38
	sb0Events     = 39 // the two halves of 64 bits, as the machine has them
	sb0CpEvents   = 41
	sb0RecoveryCp = 43
	sb0Layout     = 64
	sb0Chunk      = 65 // bytes
	sb0This       = 992
	// In the words of a disk.
	diskRaidDisk = 3
	diskState    = 4
)

const (
	sb0Clean    = 1 << 0 // MD_SB_CLEAN
	diskFaulty  = 1 << 0 // MD_DISK_FAULTY
	diskActive  = 1 << 1 // MD_DISK_ACTIVE
	diskSync    = 1 << 2 // MD_DISK_SYNC
	maxDisks090 = 27     // MD_SB_DISKS
)

// parseSuper0 reads a superblock of version 0.90 that begins at sector at.
func parseSuper0(b []byte, at remap.Sector) (*Super, error) {
	word := func(i int) uint32 { return binary.NativeEndian.Uint32(b[4*i:]) }
	if word(0) != superMagic || word(sb0Major) != 0 {
		return nil, ErrNoSuper
	}
	if minor := word(sb0Minor); minor != 90 && minor != 91 {
		return nil, badSuper("version 0.%d", minor)
	}
	if got, want := fold(word(sb0Sum)), fold(sum0(b)); got != want {
		return nil, badSuper("checksum %04x, computed %04x", got, want)
	}
	if n := word(sb0RaidDisks); n < 1 || n > maxDisks090 {
		return nil, badSuper("%d disks", n)
	}
	s := &Super{
		Level:     int(int32(word(sb0Level))),
		Layout:    int64(int32(word(sb0Layout))),
		Chunk:     remap.Sector(word(sb0Chunk) / remap.SectorSize),
		RaidDisks: int(word(sb0RaidDisks)),
		Component: 2 * remap.Sector(word(sb0Size)),
		DataSize:  at,
		Events:    binary.NativeEndian.Uint64(b[4*sb0Events:]),
		Progress:  Progress{Reshape: word(sb0Minor) == 91, Recovered: remap.MaxSectors, Synced: remap.MaxSectors},
		Role:      RoleSpare,
	}
	s.synced0(b, word)
	copy(s.Set[:4], b[4*sb0Set0:])
	copy(s.Set[4:], b[4*sb0Set1:4*sb0Set1+12])
	switch state := word(sb0This + diskState); {
	case state&diskFaulty != 0:
		s.Role = RoleFaulty
	case state&(diskActive|diskSync) != 0 && word(sb0This+diskRaidDisk) < maxDisks090:
		s.Role = int(word(sb0This + diskRaidDisk))
	}
	return s, nil
}

// synced0 tells how far copies are in sync (drivers/md/md.c, super_90_validate).
func (s *Super) synced0(b []byte, word func(int) uint32) {
	switch {
	case word(sb0State)&sb0Clean != 0:
	case binary.NativeEndian.Uint64(b[4*sb0CpEvents:]) == s.Events:
		s.Synced = remap.Sector(word(sb0RecoveryCp))
	default:
		s.Synced = 0
	}
}

// sum0 adds all words but the sum itself (drivers/md/md.c, calc_sb_csum).
func sum0(b []byte) uint32 {
	sum := uint64(0)
	for i := 0; i < superBytes/4; i++ {
		if i != sb0Sum {
			sum += uint64(binary.NativeEndian.Uint32(b[4*i:]))
		}
	}
	return uint32(sum) + uint32(sum>>32)
}

// fold makes 16 bits of a sum: some machines once stored no more (md_csum_fold).
func fold(sum uint32) uint32 {
	sum = sum&0xffff + sum>>16
	return sum&0xffff + sum>>16
}
