package bcache

import (
	"encoding/binary"
	"fmt"

	"github.com/dmcopy/dmcopy/remap"
)

const (
	// SuperStart is where a backing device has its superblock, in sectors
	// (drivers/md/bcache/bcache_ondisk.h, SB_SECTOR).
	SuperStart remap.Sector = 8
	// SuperSize is its length in bytes (SB_SIZE).
	SuperSize = 4096
	// minOffset is where the data begins at the earliest, and always with
	// version 1, in sectors (BDEV_DATA_START_DEFAULT).
	minOffset = 16
)

// Places in a superblock, little-endian (struct cache_sb_disk).
const (
	sbSum     = 0
	sbSector  = 8
	sbVersion = 16
	sbMagic   = 24
	sbUUID    = 40
	sbOffset  = 184
	sbKeys    = 206
	sbBuckets = 208
)

// Versions of superblocks of backing devices. Cache devices have others.
const (
	versionPlain    = 1
	versionOffset   = 4
	versionFeatures = 6
)

// maxKeys is how many journal buckets fit (SB_JOURNAL_BUCKETS).
const maxKeys = 256

var magic = [16]byte{0xc6, 0x85, 0x73, 0xf6, 0x4e, 0x1a, 0x45, 0xca, 0x82, 0x65, 0xf5, 0x7f, 0x48, 0xba, 0x6d, 0x81}

// Super is what the superblock of a backing device tells.
type Super struct {
	// UUID is that of the backing device, in the form of sysfs.
	UUID string `json:"uuid"`
	// Offset is where the data begins, in sectors.
	Offset remap.Sector `json:"offset"`
}

// ParseSuper reads the superblock of a backing device. It accepts what the
// kernel accepts (drivers/md/bcache/super.c, read_super), and nothing else.
func ParseSuper(b []byte) (*Super, error) {
	if len(b) < SuperSize {
		return nil, badSuper("%d bytes", len(b))
	}
	le := binary.LittleEndian
	keys := int(le.Uint16(b[sbKeys:]))
	switch {
	case [16]byte(b[sbMagic:sbMagic+16]) != magic:
		return nil, badSuper("no magic")
	case le.Uint64(b[sbSector:]) != uint64(SuperStart):
		return nil, badSuper("written for sector %d", le.Uint64(b[sbSector:]))
	case keys > maxKeys:
		return nil, badSuper("%d journal buckets", keys)
	case le.Uint64(b[sbSum:]) != superSum(b, keys):
		return nil, badSuper("checksum %016x, computed %016x", le.Uint64(b[sbSum:]), superSum(b, keys))
	case [16]byte(b[sbUUID:sbUUID+16]) == [16]byte{}:
		return nil, badSuper("no UUID")
	}
	offset, err := dataOffset(le.Uint64(b[sbVersion:]), le.Uint64(b[sbOffset:]))
	if err != nil {
		return nil, err
	}
	return &Super{UUID: spellUUID(b[sbUUID : sbUUID+16]), Offset: offset}, nil
}

// dataOffset is where the data begins.
func dataOffset(version, offset uint64) (remap.Sector, error) {
	switch version {
	case versionPlain:
		return minOffset, nil
	case versionOffset, versionFeatures:
		if offset < minOffset || offset > uint64(remap.MaxSectors) {
			return 0, badSuper("data begins at sector %d", offset)
		}
		return remap.Sector(offset), nil
	}
	return 0, badSuper("version %d", version)
}

func badSuper(format string, args ...any) error {
	return fmt.Errorf("%w: %s", errBadSuper, fmt.Sprintf(format, args...))
}

// spellUUID writes a UUID as the kernel does (lib/vsprintf.c, %pU).
func spellUUID(b []byte) string {
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[0:4], b[4:6], b[6:8], b[8:10], b[10:16])
}

// superSum is the checksum over everything from behind the sum itself to the
// last journal bucket (drivers/md/bcache/bcache.h, csum_set).
func superSum(b []byte, keys int) uint64 { return crc64(b[sbSum+8 : sbBuckets+8*keys]) }

// crcTable is that of lib/crc64.c, crc64_be, highest bit first. The one of
// hash/crc64 is for the lowest bit first.
var crcTable = func() (table [256]uint64) {
	const polynomial = 0x42f0e1eba9ea3693
	for i := range table {
		crc := uint64(i) << 56
		for range 8 {
			carry := crc>>63 == 1
			crc <<= 1
			if carry {
				crc ^= polynomial
			}
		}
		table[i] = crc
	}
	return table
}()

// crc64 is bch_crc64 of drivers/md/bcache/util.h.
func crc64(b []byte) uint64 {
	crc := ^uint64(0)
	for _, c := range b {
		crc = crcTable[byte(crc>>56)^c] ^ crc<<8
	}
	return ^crc
}
