package thinmeta

import (
	"encoding/binary"
	"fmt"
	"io"

	"github.com/dmcopy/dmcopy/remap"
)

// Where things are in a superblock, in bytes (dm-thin-metadata.c, struct
// thin_disk_superblock), and in the root of a space map
// (persistent-data/dm-space-map-common.h, struct disk_sm_root).
const (
	atFlags             = 4
	atMagic             = 32
	atVersion           = 40
	atTime              = 44
	atTransaction       = 48
	atHeldRoot          = 56
	atDataSpaceMap      = 64
	atMetadataSpaceMap  = 192
	atMappingRoot       = 320
	atDetailsRoot       = 328
	atDataBlockSize     = 336
	atMetadataBlockSize = 340
	atCompat            = 352
	atCompatReadOnly    = 356
	atIncompat          = 360
	// atBlocks counts the blocks of a space map, from its root on.
	atBlocks = 0
)

const (
	magic = 27022010
	// Both versions have the same superblock and the same trees.
	minVersion, maxVersion = 1, 2
	flagNeedsCheck         = 1
	// maxBlocks is what the space map of the metadata can count
	// (dm-space-map-metadata.h, DM_SM_METADATA_MAX_BLOCKS).
	maxBlocks = 255 * (1<<14 - 64)
	// Bounds of data blocks, in sectors (dm-thin.c, DATA_DEV_BLOCK_SIZE_MIN_SECTORS).
	minDataBlock, maxDataBlock = 128, 2097152
	// A mapping is a data block of 40 bits and a time of 24
	// (dm-thin-metadata.c, pack_block_time).
	timeBits   = 24
	maxTime    = 1<<timeBits - 1
	maxDataEnd = 1 << 40
)

// Super is a superblock: that of the pool, or that of its metadata snapshot.
type Super struct {
	// Block is where it was read, 0 for the live one.
	Block uint64
	// NeedsCheck: the pool has failed and waits for a repair. The kernel
	// refuses to write to it, and nobody should trust it.
	NeedsCheck  bool
	Version     uint32
	Time        uint32
	Transaction uint64
	// HeldRoot is the block of the metadata snapshot, 0 if there is none.
	HeldRoot    uint64
	MappingRoot uint64
	DetailsRoot uint64
	// DataBlockSize is the size of a data block.
	DataBlockSize remap.Sector
	// MetadataBlocks and DataBlocks are the sizes of the two devices, in
	// blocks of 4096 bytes and of DataBlockSize, as their space maps count
	// them: the field metadata_nr_blocks is written once and does not grow with
	// the device. A metadata snapshot is without space maps; its sizes are those
	// of the live superblock, because devices of a pool never shrink.
	MetadataBlocks uint64
	DataBlocks     uint64
}

// ReadSuper reads the superblock at a block: 0, or the held root that the
// status of the pool shows. NeedsCheck is set if either of the two superblocks
// says so.
func ReadSuper(r io.ReaderAt, block uint64) (*Super, error) {
	s, err := readSuper(r, block)
	if err != nil {
		return nil, &Error{"read superblock", err}
	}
	return s, nil
}

func readSuper(r io.ReaderAt, block uint64) (*Super, error) {
	live, err := parseSuperAt(r, 0)
	if err != nil {
		return nil, err
	}
	if err := live.check(); err != nil || block == 0 {
		return live, err
	}
	if live.HeldRoot != block {
		return nil, fmt.Errorf("%w: block %d, held is %d", ErrNotHeld, block, live.HeldRoot)
	}
	if block >= live.MetadataBlocks {
		return nil, fmt.Errorf("%w: held root %d of %d metadata blocks", ErrFormat, block, live.MetadataBlocks)
	}
	held, err := parseSuperAt(r, block)
	if err != nil {
		return nil, err
	}
	if held.DataBlockSize != live.DataBlockSize || held.HeldRoot != 0 || held.Time > live.Time {
		return nil, fmt.Errorf("%w: block %d is no snapshot of the superblock", ErrFormat, block)
	}
	held.MetadataBlocks, held.DataBlocks = live.MetadataBlocks, live.DataBlocks
	held.NeedsCheck = held.NeedsCheck || live.NeedsCheck
	return held, held.check()
}

func parseSuperAt(r io.ReaderAt, number uint64) (*Super, error) {
	block := make([]byte, blockSize)
	if err := readBlock(r, number, block); err != nil {
		return nil, err
	}
	return parseSuper(block, number)
}

// parseSuper reads what both kinds of superblocks have.
func parseSuper(block []byte, number uint64) (*Super, error) {
	if err := verify(block, number, superSalt); err != nil {
		return nil, err
	}
	word := func(at int) uint32 { return binary.LittleEndian.Uint32(block[at:]) }
	long := func(at int) uint64 { return binary.LittleEndian.Uint64(block[at:]) }
	s := &Super{
		Block:          number,
		NeedsCheck:     word(atFlags)&flagNeedsCheck != 0,
		Version:        word(atVersion),
		Time:           word(atTime),
		Transaction:    long(atTransaction),
		HeldRoot:       long(atHeldRoot),
		MappingRoot:    long(atMappingRoot),
		DetailsRoot:    long(atDetailsRoot),
		DataBlockSize:  remap.Sector(word(atDataBlockSize)),
		MetadataBlocks: long(atMetadataSpaceMap + atBlocks),
		DataBlocks:     long(atDataSpaceMap + atBlocks),
	}
	switch {
	case long(atMagic) != magic:
		return nil, fmt.Errorf("%w: magic %d", ErrFormat, long(atMagic))
	case s.Version < minVersion || s.Version > maxVersion:
		return nil, fmt.Errorf("%w: version %d", ErrFormat, s.Version)
	case word(atFlags)&^flagNeedsCheck != 0:
		return nil, fmt.Errorf("%w: flags %#x", ErrFormat, word(atFlags))
	case word(atCompat)|word(atCompatReadOnly)|word(atIncompat) != 0:
		return nil, fmt.Errorf("%w: unknown features", ErrFormat)
	case word(atMetadataBlockSize) != blockSize/remap.SectorSize:
		return nil, fmt.Errorf("%w: metadata blocks of %d sectors", ErrFormat, word(atMetadataBlockSize))
	}
	return s, nil
}

// check checks everything that a walk relies on.
func (s *Super) check() error {
	if err := s.checkData(); err != nil {
		return err
	}
	if s.Time > maxTime {
		// The time of a mapping has 24 bits: no longer can the two be compared.
		return fmt.Errorf("%w: time %d", ErrFormat, s.Time)
	}
	if s.MetadataBlocks > maxBlocks {
		return fmt.Errorf("%w: %d metadata blocks", ErrFormat, s.MetadataBlocks)
	}
	for _, block := range []uint64{s.Block, s.MappingRoot, s.DetailsRoot} {
		if block >= s.MetadataBlocks {
			return fmt.Errorf("%w: block %d of %d", ErrFormat, block, s.MetadataBlocks)
		}
	}
	return nil
}

// checkData checks the geometry of the data device.
func (s *Super) checkData() error {
	switch {
	case s.DataBlockSize < minDataBlock || s.DataBlockSize > maxDataBlock || s.DataBlockSize%minDataBlock != 0:
		return fmt.Errorf("%w: data blocks of %d sectors", ErrFormat, s.DataBlockSize)
	case s.DataBlocks > maxDataEnd || s.DataBlocks > uint64(remap.MaxSectors/s.DataBlockSize):
		return fmt.Errorf("%w: %d data blocks", ErrFormat, s.DataBlocks)
	}
	return nil
}
