// Package integritysb reads the superblock of a device-mapper integrity target
// (drivers/md/dm-integrity.c, struct superblock), which says where data and
// tags lie. Keys and secrets are not in it.
//
// The superblock is at the target's start sector of the device that holds the
// tags. Positions and lengths are sectors of 512 bytes.
package integritysb

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/dmcopy/dmcopy/remap"
)

// MinSize is how much of a superblock [Parse] needs, in bytes.
const MinSize = 512

// Sectors is the size of a superblock (dm-integrity.c, SB_SECTORS).
const Sectors remap.Sector = 8

// ErrFormat: no kernel writes such a superblock, or none that we know. It
// arrives wrapped.
var ErrFormat = errors.New("malformed integrity superblock")

// Flags of a superblock (dm-integrity.c, SB_FLAG_*).
type Flags uint32

const (
	JournalMAC    Flags = 1 << iota // journal sectors end with a MAC
	Recalculating                   // tags are being computed up to Recalculated
	DirtyBitmap                     // tags may be stale where the bitmap says so
	FixedPadding                    // areas of tags are padded to 4096 bytes, not to 131072
	FixedHMAC                       // the superblock itself is authenticated
	Inline                          // tags are stored by the disk beside each sector
	DiscardKeyed                    // discarded blocks carry keyed tags
)

// known are the flags of each version: the kernel writes the lowest version
// that allows the flags in use (dm-integrity.c, sb_set_version).
var known = [...]Flags{
	1: JournalMAC,
	2: JournalMAC | Recalculating,
	3: JournalMAC | Recalculating | DirtyBitmap,
	4: JournalMAC | Recalculating | DirtyBitmap | FixedPadding,
	5: JournalMAC | Recalculating | DirtyBitmap | FixedPadding | FixedHMAC,
	6: JournalMAC | Recalculating | DirtyBitmap | FixedPadding | FixedHMAC | Inline,
}

// Super is a superblock.
type Super struct {
	Version uint8
	Flags   Flags
	// TagSize is the size of the tag of one block, in bytes.
	TagSize uint16
	// JournalSections is 0 if tags are inline, where there is no journal.
	JournalSections uint32
	// Provided is the size of the target that fits the device.
	Provided remap.Sector
	// Interleave is the length of an area of data between two areas of tags,
	// a power of two. It is 0 if there is but one: tags are on a device of
	// their own, or inline.
	Interleave remap.Sector
	// BlockSize is the size of what has one tag.
	BlockSize remap.Sector
	// Recalculated is how far tags have been computed, if Flags says so.
	Recalculated remap.Sector
}

// Where things are in a superblock, in bytes.
const (
	atVersion     = 8
	atInterleave  = 9
	atTagSize     = 10
	atSections    = 12
	atProvided    = 16
	atFlags       = 24
	atBlock       = 28
	atRecalculate = 32
)

var magic = []byte("integrt\x00")

// Bounds of the exponents (dm-integrity.c, MIN_LOG2_INTERLEAVE_SECTORS and
// MAX_LOG2_INTERLEAVE_SECTORS; blocks are 512 to 4096 bytes).
const (
	minInterleave = 3
	maxInterleave = 31
	maxBlock      = 3
)

// Parse reads a superblock from its first bytes, at least [MinSize].
func Parse(b []byte) (*Super, error) {
	if len(b) < MinSize {
		return nil, fmt.Errorf("%w: %d bytes", ErrFormat, len(b))
	}
	if !bytes.HasPrefix(b, magic) {
		return nil, fmt.Errorf("%w: magic %q", ErrFormat, b[:len(magic)])
	}
	interleave, block := b[atInterleave], b[atBlock]
	provided, recalculated := binary.LittleEndian.Uint64(b[atProvided:]), binary.LittleEndian.Uint64(b[atRecalculate:])
	switch {
	case interleave != 0 && (interleave < minInterleave || interleave > maxInterleave):
		return nil, fmt.Errorf("%w: interleave of 2^%d sectors", ErrFormat, interleave)
	case block > maxBlock:
		return nil, fmt.Errorf("%w: blocks of 2^%d sectors", ErrFormat, block)
	case provided > uint64(remap.MaxSectors) || recalculated > uint64(remap.MaxSectors):
		return nil, fmt.Errorf("%w: %d sectors, %d recalculated", ErrFormat, provided, recalculated)
	}
	s := &Super{
		Version:         b[atVersion],
		Flags:           Flags(binary.LittleEndian.Uint32(b[atFlags:])),
		TagSize:         binary.LittleEndian.Uint16(b[atTagSize:]),
		JournalSections: binary.LittleEndian.Uint32(b[atSections:]),
		Provided:        remap.Sector(provided),
		BlockSize:       1 << block,
		Recalculated:    remap.Sector(recalculated),
	}
	if interleave != 0 {
		s.Interleave = 1 << interleave
	}
	return s, s.check()
}

func (s *Super) check() error {
	inline := s.Flags&Inline != 0
	switch {
	case s.Version < 1 || int(s.Version) >= len(known):
		return fmt.Errorf("%w: version %d", ErrFormat, s.Version)
	case s.Flags&^(known[s.Version]|DiscardKeyed) != 0:
		return fmt.Errorf("%w: flags %#x of version %d", ErrFormat, uint32(s.Flags), s.Version)
	case s.TagSize == 0 || s.Provided < 1 || s.Provided%s.BlockSize != 0:
		return fmt.Errorf("%w: tags of %d bytes for %d sectors", ErrFormat, s.TagSize, s.Provided)
	case inline != (s.JournalSections == 0) || inline && s.Interleave != 0:
		return fmt.Errorf("%w: %d sections of journal", ErrFormat, s.JournalSections)
	case !inline && s.entriesPerSector() == 0:
		return fmt.Errorf("%w: tags of %d bytes do not fit into a journal", ErrFormat, s.TagSize)
	case s.Initial() > math.MaxUint32:
		return fmt.Errorf("%w: journal of %d sectors", ErrFormat, s.Initial())
	}
	return nil
}

// Layout of a journal (dm-integrity.c, JOURNAL_* and
// calculate_journal_section_size): a section has 8 sectors of entries, each
// with 8 bytes less for a commit ID, and then the blocks of these entries.
const (
	sectionEntrySectors = 8
	sectorSpace         = remap.SectorSize - 8
	macPerSector        = 8
	entryRound          = 8
)

// entriesPerSector is the number of journal entries in a sector: an entry is a
// position, 8 bytes of each sector of its block, and a tag.
func (s *Super) entriesPerSector() int64 {
	entry := roundUp(8+8*int64(s.BlockSize)+int64(s.TagSize), entryRound)
	space := int64(sectorSpace)
	if s.Flags&JournalMAC != 0 {
		space -= macPerSector
	}
	return space / entry
}

// Initial is the distance from the superblock to the first area of tags: the
// superblock and the journal.
func (s *Super) Initial() remap.Sector {
	section := remap.Sector(s.entriesPerSector()*sectionEntrySectors)*s.BlockSize + sectionEntrySectors
	return Sectors + section*remap.Sector(s.JournalSections)
}

// Run is the length of an area of tags, each of which is followed by
// Interleave sectors of data; 0 if there are no areas.
func (s *Super) Run() remap.Sector {
	if s.Interleave == 0 {
		return 0
	}
	padding := int64(131072)
	if s.Flags&FixedPadding != 0 {
		padding = 4096
	}
	return remap.Sector(roundUp(int64(s.TagSize)*int64(s.Interleave/s.BlockSize), padding) / remap.SectorSize)
}

func roundUp(n, to int64) int64 { return (n + to - 1) / to * to }
