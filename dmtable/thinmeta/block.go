package thinmeta

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// blockSize is that of metadata, in bytes
// (persistent-data/dm-space-map-metadata.h, DM_SM_METADATA_BLOCK_SIZE).
const blockSize = 4096

// Salts of checksums, one for each kind of block.
const (
	superSalt = 160774 // dm-thin-metadata.c, SUPERBLOCK_CSUM_XOR
	nodeSalt  = 121107 // persistent-data/dm-btree-spine.c, BTREE_CSUM_XOR
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// verify checks what superblocks and nodes have in common: the checksum at
// byte 0, and the block's own number at byte 8.
func verify(block []byte, number uint64, salt uint32) error {
	// The kernel leaves out the final inversion of CRC-32C
	// (persistent-data/dm-block-manager.c, dm_bm_checksum).
	sum := ^crc32.Checksum(block[4:], castagnoli) ^ salt
	if stored := binary.LittleEndian.Uint32(block); stored != sum {
		return fmt.Errorf("%w: block %d has %#x, not %#x", ErrChecksum, number, stored, sum)
	}
	if stored := binary.LittleEndian.Uint64(block[8:]); stored != number {
		return fmt.Errorf("%w: block %d says that it is block %d", ErrChecksum, number, stored)
	}
	return nil
}

// readBlock reads one block into memory of its size.
func readBlock(r io.ReaderAt, number uint64, block []byte) error {
	n, err := r.ReadAt(block, int64(number)*blockSize)
	switch {
	case n == len(block):
		return nil
	case err == nil || errors.Is(err, io.EOF):
		return fmt.Errorf("%w: block %d", ErrTruncated, number)
	}
	return err
}

const (
	// windowBlocks are read at once: the kernel allocates metadata from front
	// to back, so the leaves of a tree are rarely far from each other.
	windowBlocks = 16
	windows      = 16
)

// cache keeps a few windows of neighbouring blocks. Blocks that a superblock
// refers to do not change as long as the superblock is held.
type cache struct {
	r io.ReaderAt
	// blocks is the number of metadata blocks.
	blocks uint64
	slots  [windows]slot
}

// slot is a window: blocks from first on.
type slot struct {
	first  uint64
	blocks []byte
	buf    []byte
}

// block returns a block, valid until the next call.
func (c *cache) block(number uint64) ([]byte, error) {
	if number >= c.blocks {
		return nil, fmt.Errorf("%w: block %d of %d", ErrFormat, number, c.blocks)
	}
	s := &c.slots[number/windowBlocks%windows]
	if block := s.get(number); block != nil {
		return block, nil
	}
	if s.fill(c.r, number, c.blocks); s.get(number) == nil {
		// The window has come out shorter: read what is needed and nothing else.
		if err := readBlock(c.r, number, s.buf[:blockSize]); err != nil {
			return nil, err
		}
		s.first, s.blocks = number, s.buf[:blockSize]
	}
	return s.get(number), nil
}

func (s *slot) get(number uint64) []byte {
	if number < s.first || number-s.first >= uint64(len(s.blocks)/blockSize) {
		return nil
	}
	return s.blocks[(number-s.first)*blockSize:][:blockSize]
}

// fill reads the window of a block, or as much of it as there is.
func (s *slot) fill(r io.ReaderAt, number, limit uint64) {
	if s.buf == nil {
		s.buf = make([]byte, windowBlocks*blockSize)
	}
	s.first = number / windowBlocks * windowBlocks
	buf := s.buf[:min(windowBlocks, limit-s.first)*blockSize]
	n, _ := r.ReadAt(buf, int64(s.first)*blockSize)
	s.blocks = buf[:n/blockSize*blockSize]
}
