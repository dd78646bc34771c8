package raidmap

import (
	"math/bits"

	"github.com/dmcopy/dmcopy/remap"
)

// MaxDisks bounds the slots of an array. Superblocks of version 1 have room for
// 1920 (drivers/md/md.c, super_1_load), older ones for 27, dm-raid allows 253.
const MaxDisks = 4096

// minChunk is the smallest chunk of the levels that want chunks of whole pages,
// in sectors, with the smallest page of any machine.
const minChunk = 8

// Geometry says where the sectors of an array are. Implementations are
// immutable, and look up without allocating.
type Geometry interface {
	// Level is the name of the level in the kernel, "raid5".
	Level() string
	// Disks is the number of slots.
	Disks() int
	// Size is the capacity of the array in sectors.
	Size() remap.Sector
	// Reach is how many sectors of the member in that slot the array uses: no
	// answer lies behind them.
	Reach(slot int) remap.Sector
	// At finds the run that starts at sector s of the array and is at most n
	// sectors long; 0 <= s, 0 < n, s+n <= Size.
	At(s, n remap.Sector) Run
}

// Mirrored is a geometry that keeps copies of each sector.
type Mirrored interface {
	Geometry
	// Copies is how many there are.
	Copies() int
	// Copy finds copy i of sector s of the array; 0 is the one of At.
	Copy(s remap.Sector, i int) Spot
	// Together is for how many of n sectors, from sector s of the array on, each copy
	// is contiguous; as long as a run of At.
	Together(s, n remap.Sector) remap.Sector
}

// Spot is a place on a member.
type Spot struct {
	Slot int
	// Start counts from where the array's data begins on the member.
	Start remap.Sector
}

// Run is a part of an array that is contiguous on its members.
type Run struct {
	// Len is its length in sectors, on the array and on the members.
	Len remap.Sector
	// Spot is where the data is; of a mirrored geometry, the first copy.
	Spot
	// P and Q are the slots that hold parity of this run, at the same Start;
	// -1 for none.
	P, Q int
}

// noSlot stands for parity that there is none of.
const noSlot = -1

// pages are chunks whose length is a power of two.
type pages struct {
	chunk remap.Sector
	shift uint
}

// wholePages checks a chunk the way raid10.c, setup_geo, and raid5.c,
// setup_conf, do.
func wholePages(level string, chunk remap.Sector) (pages, error) {
	if chunk < minChunk || chunk > remap.MaxSectors || chunk&(chunk-1) != 0 {
		return pages{}, fail(level, ErrGeometry, "chunks of %d sectors", chunk)
	}
	return pages{chunk, uint(bits.TrailingZeros64(uint64(chunk)))}, nil
}

// split divides a position into the number of its chunk and the place in it.
func (p pages) split(s remap.Sector) (number int64, inside remap.Sector) {
	return int64(s >> p.shift), s & (p.chunk - 1)
}

// checkDisks demands a number of slots.
func checkDisks(level string, disks, least int) error {
	if disks < least || disks > MaxDisks {
		return fail(level, ErrGeometry, "%d disks", disks)
	}
	return nil
}

// checkSize demands the length of a member.
func checkSize(level string, size remap.Sector) error {
	if size < 0 || size > remap.MaxSectors {
		return fail(level, ErrGeometry, "members of %d sectors", size)
	}
	return nil
}
