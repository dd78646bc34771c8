package raidmap

import "github.com/dmcopy/dmcopy/remap"

// Parity deals chunks in rows with a chunk of parity, or two, in each
// (drivers/md/raid5.c, raid5_compute_sector).
type Parity struct {
	pages
	parityLayout
	level string
	// disks are all slots, data those that hold data in a row, turning those
	// that P goes round on.
	disks, data, turning int64
	size, reach          remap.Sector
}

// parityLayout says where in a row parity and data are.
type parityLayout struct {
	p    turn
	q    beside
	deal deal
	// ahead is by how many rows P is ahead of what its turn says.
	ahead int64
}

// turn is how P moves from row to row.
type turn uint8

const (
	first turn = iota
	last
	left  // from the last disk down
	right // from the first disk up
)

// beside is where Q is.
type beside uint8

const (
	noQ     beside = iota
	behindP        // on the next disk; the first one is next to the last
	beforeP
	onLastDisk // P and data turn on the others
)

// deal is the order of data in a row.
type deal uint8

const (
	skipping  deal = iota // from the first disk on, parity left out
	following             // from the disk behind the parity on, round
)

// raid4 has its parity on the last disk, whatever its layout says.
var raid4 = parityLayout{last, noQ, skipping, 0}

// raid5Layouts and raid6Layouts are the layouts by number (drivers/md/raid5.h,
// ALGORITHM_*).
var raid5Layouts = map[int64]parityLayout{
	0: {left, noQ, skipping, 0},   // left asymmetric
	1: {right, noQ, skipping, 0},  // right asymmetric
	2: {left, noQ, following, 0},  // left symmetric
	3: {right, noQ, following, 0}, // right symmetric
	4: {first, noQ, skipping, 0},  // parity first: the raid4 of dm-raid
	5: {last, noQ, skipping, 0},   // parity last
}

var raid6Layouts = map[int64]parityLayout{
	0:  {left, behindP, skipping, 0},      // left asymmetric
	1:  {right, behindP, skipping, 0},     // right asymmetric
	2:  {left, behindP, following, 0},     // left symmetric
	3:  {right, behindP, following, 0},    // right symmetric
	4:  {first, behindP, skipping, 0},     // parity first
	5:  {last, behindP, skipping, 0},      // parity last
	8:  {right, behindP, skipping, 0},     // rotating, zero restart
	9:  {left, behindP, skipping, 1},      // rotating, N restart
	10: {left, beforeP, following, 0},     // rotating, N continue
	16: {left, onLastDisk, skipping, 0},   // as raid5 left asymmetric
	17: {right, onLastDisk, skipping, 0},  // as raid5 right asymmetric
	18: {left, onLastDisk, following, 0},  // as raid5 left symmetric
	19: {right, onLastDisk, following, 0}, // as raid5 right symmetric
	20: {first, onLastDisk, skipping, 0},  // as raid5 parity first
}

// NewParity makes an array of level 4, 5 or 6 of so many slots; layout is md's
// number, size what each member holds, chunk and size in sectors.
func NewParity(level int, layout int64, disks int, chunk, size remap.Sector) (*Parity, error) {
	g := &Parity{disks: int64(disks), turning: int64(disks), data: int64(disks) - 1}
	least, known := 2, true
	switch level {
	case 4:
		g.level, g.parityLayout = "raid4", raid4
	case 5:
		g.level = "raid5"
		g.parityLayout, known = raid5Layouts[layout]
	case 6:
		g.level, least, g.data = "raid6", 4, g.data-1
		g.parityLayout, known = raid6Layouts[layout]
	default:
		return nil, fail("parity", ErrGeometry, "level %d", level)
	}
	if !known {
		return nil, fail(g.level, ErrLayout, "%d", layout)
	}
	if err := checkDisks(g.level, disks, least); err != nil {
		return nil, err
	}
	if err := checkSize(g.level, size); err != nil {
		return nil, err
	}
	if g.q == onLastDisk {
		g.turning--
	}
	var err error
	if g.pages, err = wholePages(g.level, chunk); err != nil {
		return nil, err
	}
	g.reach = size &^ (chunk - 1)
	if g.reach > remap.MaxSectors/remap.Sector(g.data) {
		return nil, fail(g.level, ErrGeometry, "more than %d sectors", remap.MaxSectors)
	}
	g.size = g.reach * remap.Sector(g.data)
	return g, nil
}

// Level implements [Geometry].
func (g *Parity) Level() string { return g.level }

// Disks implements [Geometry].
func (g *Parity) Disks() int { return int(g.disks) }

// Size implements [Geometry].
func (g *Parity) Size() remap.Sector { return g.size }

// Reach implements [Geometry].
func (g *Parity) Reach(int) remap.Sector { return g.reach }

// At implements [Geometry].
func (g *Parity) At(s, n remap.Sector) Run {
	number, inside := g.split(s)
	row := number / g.data
	p := g.parity(row)
	return Run{
		Len:  min(n, g.chunk-inside),
		Spot: Spot{int(g.dealt(number-row*g.data, p)), remap.Sector(row)<<g.shift + inside},
		P:    int(p), Q: int(g.second(p)),
	}
}

// parity is the disk of P in a row.
func (g *Parity) parity(row int64) int64 {
	switch g.p {
	case first:
		return 0
	case last:
		return g.data
	case left:
		return g.turning - 1 - (row+g.ahead)%g.turning
	}
	return (row + g.ahead) % g.turning
}

// second is the disk of Q in a row with that P.
func (g *Parity) second(p int64) int64 {
	switch g.q {
	case behindP:
		return (p + 1) % g.disks
	case beforeP:
		return (p + g.disks - 1) % g.disks
	case onLastDisk:
		return g.disks - 1
	}
	return noSlot
}

// dealt is the disk of data chunk d of a row with that P.
func (g *Parity) dealt(d, p int64) int64 {
	width := int64(1) // of P and what is behind it
	if g.q == behindP {
		width = 2
	}
	switch {
	case g.deal == following:
		return (p + width + d) % g.turning
	case p+width > g.disks: // Q is on the first disk
		return d + 1
	case d >= p:
		return d + width
	}
	return d
}
