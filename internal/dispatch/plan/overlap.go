package plan

import (
	"cmp"
	"slices"

	"github.com/dmcopy/dmcopy/remap"
)

// A copy must not write, on any device below, what it has yet to read, nor
// write anything twice: two volumes can share blocks without looking alike.
// The sieve finds such overlaps in memory that does not grow with the number of
// extents: each device is divided into buckets, a bit each for "is read", "is
// written" and "is written in more than one piece". Only extents in candidate
// buckets, the few around the borders of ordinary volumes, are then compared
// exactly, and if these are many, one slice of the buckets after the other.

const (
	buckets = 1 << 16
	// maxCandidates bounds the runs that are compared at a time.
	maxCandidates = 1 << 19
)

type bucketSet [buckets / 64]uint64

func (b *bucketSet) has(i remap.Sector) bool { return b[i/64]&(1<<(i%64)) != 0 }

func (b *bucketSet) set(i remap.Sector) { b[i/64] |= 1 << (i % 64) }

// sieve watches one device.
type sieve struct {
	width                remap.Sector // of a bucket
	read, written, again bucketSet
	end                  remap.Sector // behind the latest piece written
}

func (s *sieve) span(leg remap.Leg, n remap.Sector) (first, last remap.Sector) {
	return leg.Start / s.width, (leg.Start + n - 1) / s.width
}

func (s *sieve) noteRead(leg remap.Leg, n remap.Sector) {
	first, last := s.span(leg, n)
	for i := first; i <= last; i++ {
		s.read.set(i)
	}
}

func (s *sieve) noteWritten(leg remap.Leg, n remap.Sector) {
	first, last := s.span(leg, n)
	for i := first; i <= last; i++ {
		if s.written.has(i) && !(i == first && leg.Start == s.end) {
			s.again.set(i)
		}
		s.written.set(i)
	}
	s.end = leg.Start + n
}

// candidate tells whether a bucket needs a closer look.
func (s *sieve) candidate(bucket remap.Sector) bool {
	return s.written.has(bucket) && (s.read.has(bucket) || s.again.has(bucket))
}

// overlaps is the sieves of all devices that a copy touches.
type overlaps struct {
	stack  *remap.Stack
	sieves map[remap.Dev]*sieve
	// storage leads from a device to the one that stands for its storage.
	storage map[remap.Dev]remap.Dev
	// rooms are what several devices may be stored in, by the one that stands
	// for it.
	rooms map[remap.Dev]room
	trust *Trust
}

// room is what several devices may be stored in: the file of loop devices.
type room struct {
	end remap.Sector
	// whyUnaligned: some devices begin within a sector of it.
	ragged bool
}

func newOverlaps(st *remap.Stack, trust *Trust) *overlaps {
	o := &overlaps{stack: st, trust: trust, sieves: make(map[remap.Dev]*sieve), storage: make(map[remap.Dev]remap.Dev), rooms: make(map[remap.Dev]room)}
	if st == nil { // an end is a regular file: nothing is resolved
		return o
	}
	var stored []*remap.Node
	for _, n := range st.Nodes() {
		if n.Storage != nil {
			o.join(n, stored)
			stored = append(stored, n)
		}
	}
	for _, n := range stored {
		r := o.rooms[o.storage[n.Dev]]
		r.end, r.ragged = max(r.end, n.Storage.Start+n.Size), r.ragged || n.Storage.Ragged
		o.rooms[o.storage[n.Dev]] = r
	}
	return o
}

// join finds out which earlier devices n shares its storage with. They need not
// have known of each other.
func (o *overlaps) join(n *remap.Node, earlier []*remap.Node) {
	o.storage[n.Dev] = n.Dev
	for _, m := range earlier {
		if !n.Storage.Same(m.Storage) {
			continue
		}
		old := o.storage[m.Dev]
		for _, k := range earlier {
			if o.storage[k.Dev] == old {
				o.storage[k.Dev] = n.Dev
			}
		}
	}
}

// stored returns where a leg is in the storage that its device may share.
func (o *overlaps) stored(leg remap.Leg) remap.Leg {
	if s := o.stack.Node(leg.Dev).Storage; s != nil {
		leg.Start += s.Start
	}
	return leg
}

// read returns where a run that is read lies in such storage: with a sector more
// on either side if sectors do not match there.
func (o *overlaps) read(leg remap.Leg, n remap.Sector) (remap.Leg, remap.Sector) {
	leg = o.stored(leg)
	if o.rooms[o.same(leg.Dev)].ragged {
		before := min(leg.Start, 1)
		return remap.Leg{Dev: leg.Dev, Start: leg.Start - before}, n + before + 1
	}
	return leg, n
}

// same returns the device that stands for the storage of dev: paths to one
// logical unit are different devices, and so are loop devices on one file.
// Equal names are no proof that two of them are one, but reason enough to keep a
// copy from writing what it reads, whatever size they say they have: one path may
// not have heard yet that the disk has grown.
func (o *overlaps) same(dev remap.Dev) remap.Dev {
	if first, known := o.storage[dev]; known {
		return first
	}
	first := dev
	n := o.stack.Node(dev)
	if all := sameIdentity(o.stack, n); !o.trust.allDistinct(all) {
		first = all[0].Dev
	}
	o.storage[dev] = first
	return first
}

func (o *overlaps) at(dev remap.Dev) *sieve {
	dev = o.same(dev)
	s := o.sieves[dev]
	if s == nil {
		s = &sieve{width: max(o.largest(dev), o.rooms[dev].end+1)/buckets + 1, end: -1}
		o.sieves[dev] = s
	}
	return s
}

// largest is the size of a device, or of the largest one of its name.
func (o *overlaps) largest(dev remap.Dev) remap.Sector {
	n := o.stack.Node(dev)
	size := n.Size
	for _, other := range sameIdentity(o.stack, n) {
		size = max(size, other.Size)
	}
	return size
}

// places calls f for where an extent lies: on leaves, or on the device at which
// resolving stopped.
func places(e *remap.Extent, f func(remap.Leg)) {
	switch e.Kind {
	case remap.Replica:
		for _, leg := range e.Legs {
			f(leg)
		}
	case remap.Zero:
	default:
		f(e.Leg)
	}
}

// add notes where a piece is read and written.
func (o *overlaps) add(piece *remap.Piece) {
	places(&piece.Src, func(leg remap.Leg) { o.at(leg.Dev).noteRead(o.read(leg, piece.Len())) })
	places(&piece.Dst, func(leg remap.Leg) { o.at(leg.Dev).noteWritten(o.stored(leg), piece.Len()) })
}

// any tells whether there is anything to compare exactly.
func (o *overlaps) any() bool {
	for _, s := range o.sieves {
		for i := range s.written {
			if s.written[i]&(s.read[i]|s.again[i]) != 0 {
				return true
			}
		}
	}
	return false
}

// census counts the candidate runs in each bucket, over all devices.
type census [buckets]uint32

func (c *census) count(o *overlaps, piece *remap.Piece) {
	note := func(leg remap.Leg, n remap.Sector) {
		s := o.at(leg.Dev)
		first, last := s.span(leg, n)
		for i := first; i <= last; i++ {
			if s.candidate(i) {
				c[i]++
			}
		}
	}
	places(&piece.Src, func(leg remap.Leg) { note(o.read(leg, piece.Len())) })
	places(&piece.Dst, func(leg remap.Leg) { note(o.stored(leg), piece.Len()) })
}

// slice returns the end of a slice of the buckets, from first on, that holds no
// more runs than can be compared at a time, and how many these are.
func (c *census) slice(first remap.Sector) (end remap.Sector, runs int) {
	for end = first; end < buckets; end++ {
		if end > first && runs+int(c[end]) > maxCandidates {
			break
		}
		runs += int(c[end])
	}
	return end, runs
}

// candidateRun is some candidate sectors of a device.
type candidateRun struct {
	start, end remap.Sector
}

// exactCheck compares the candidate runs of one slice.
type exactCheck struct {
	sieves     *overlaps
	first, end remap.Sector // buckets
	room       int          // for so many runs
	read       map[remap.Dev][]candidateRun
	written    map[remap.Dev][]candidateRun
}

func newExactCheck(o *overlaps, first, end remap.Sector, room int) *exactCheck {
	return &exactCheck{o, first, end, room, make(map[remap.Dev][]candidateRun), make(map[remap.Dev][]candidateRun)}
}

func (c *exactCheck) add(piece *remap.Piece) {
	places(&piece.Src, func(leg remap.Leg) {
		leg, n := c.sieves.read(leg, piece.Len())
		c.note(c.read, leg, n)
	})
	places(&piece.Dst, func(leg remap.Leg) { c.note(c.written, c.sieves.stored(leg), piece.Len()) })
}

// note keeps the candidate part of a run that lies in the slice. Neighbours are
// merged as they come, so that striped volumes need no more room than linear
// ones.
func (c *exactCheck) note(runs map[remap.Dev][]candidateRun, leg remap.Leg, n remap.Sector) {
	dev := c.sieves.same(leg.Dev)
	s := c.sieves.at(dev)
	first, last := s.span(leg, n)
	first, last = max(first, c.first), min(last, c.end-1)
	for first <= last && !s.candidate(first) {
		first++
	}
	for first <= last && !s.candidate(last) {
		last--
	}
	if first > last {
		return
	}
	r := candidateRun{max(leg.Start, first*s.width), min(leg.Start+n, (last+1)*s.width)}
	list := runs[dev]
	if list == nil {
		list = make([]candidateRun, 0, c.room)
	}
	if k := len(list); k > 0 && list[k-1].end == r.start {
		list[k-1].end = r.end
		return
	}
	runs[dev] = append(list, r)
}

// shared finds a sector that is both read and written, or written twice.
func (c *exactCheck) shared() (dev remap.Dev, at remap.Sector, found bool) {
	byStart := func(a, b candidateRun) int { return cmp.Compare(a.start, b.start) }
	for dev, written := range c.written {
		slices.SortFunc(written, byStart)
		for i := 1; i < len(written); i++ {
			if written[i].start < written[i-1].end {
				return dev, written[i].start, true
			}
		}
		for _, r := range c.read[dev] {
			// The first run written that ends behind the beginning of r.
			i, _ := slices.BinarySearchFunc(written, r.start+1, func(w candidateRun, at remap.Sector) int { return cmp.Compare(w.end, at) })
			if i < len(written) && written[i].start < r.end {
				return dev, max(written[i].start, r.start), true
			}
		}
	}
	return remap.Dev{}, 0, false
}
