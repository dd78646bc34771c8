package remap

// Two devices share storage where the same sectors lie below both of them: loop devices
// on one file, tables of device-mapper that overlap, a device and one below it. Whether
// they do is asked of tables alone. What is not understood may lie anywhere on what it
// is made of, so that the answer is yes too often, and never no too often. Where the
// ways of both lead through one device, they are compared there, and not below: a
// device keeps its own sectors apart.

// A Reacher is a layer that tells, without being walked, where a part of it lies: one whose
// runs are as many as its chunks.
type Reacher interface {
	// Reach returns the runs below that hold all sectors from s on, and where that part
	// ends; s itself where it has to be walked.
	Reach(s Sector) (end Sector, runs []Range)
}

const (
	// maxRuns is how many runs of one device are walked before it is taken to lie
	// anywhere below.
	maxRuns = 1 << 12
	// maxPlaces is how many places a footprint may have.
	maxPlaces = 1 << 18
)

// Footprint is where a device lies, on itself and on every device below.
type Footprint struct {
	st     *Stack
	places map[any][]place // by what stands for the storage
	count  int
	// blind: it may lie anywhere.
	blind bool
}

// place is a run of a device, or of what loop devices are stored in.
type place struct {
	node        *Node
	start, end  Sector
	coordinated bool // see Node.Coordinated
	above       *trail
}

// trail are the devices on the way to a place.
type trail struct {
	dev Dev
	up  *trail
}

func (t *trail) passes(dev Dev) bool {
	for ; t != nil; t = t.up {
		if t.dev == dev {
			return true
		}
	}
	return false
}

// meets tells whether both trails lead through one device.
func (t *trail) meets(o *trail) bool {
	for ; t != nil; t = t.up {
		if o.passes(t.dev) {
			return true
		}
	}
	return false
}

// Footprint finds where all of a device lies. A device that is not in the stack may lie
// anywhere.
func (st *Stack) Footprint(dev Dev) *Footprint {
	f := &Footprint{st: st, places: make(map[any][]place)}
	n := st.nodes[dev]
	if n == nil {
		f.blind = true
		return f
	}
	f.walk(n, 0, n.Size, false, nil)
	return f
}

// FootprintOf is that of all of a file.
func (st *Stack) FootprintOf(s *Storage) *Footprint {
	f := &Footprint{st: st, places: make(map[any][]place)}
	n := &Node{Name: s.Name, Storage: s, Size: MaxSectors}
	f.add(st.storage(n), place{node: n, end: MaxSectors})
	return f
}

// WithoutArranged is the footprint of a device that a process writes to which may belong to what
// is made of the device, as one that keeps the metadata of arrays does: the devices that arrange
// its sectors do not count.
func (f *Footprint) WithoutArranged() *Footprint {
	for _, places := range f.places {
		for i := range places {
			places[i].coordinated = places[i].coordinated || places[i].above == nil
		}
	}
	return f
}

// Overlaps tells whether both lie, or may lie, on the same sectors, and of what; on is nil
// where not even that is known.
func (f *Footprint) Overlaps(o *Footprint) (on *Node, meets bool) {
	if f.blind || o.blind {
		return nil, true
	}
	for key, mine := range f.places {
		for _, a := range mine {
			for _, b := range o.places[key] {
				apart := a.end <= b.start || b.end <= a.start || a.coordinated && b.coordinated
				if !apart && !a.above.meets(b.above) {
					return a.node, true
				}
			}
		}
	}
	return nil, false
}

func (f *Footprint) add(key any, p place) {
	if f.count++; f.count > maxPlaces {
		f.blind = true
		return
	}
	if list := f.places[key]; len(list) > 0 {
		if last := &list[len(list)-1]; last.node == p.node && last.above == p.above && last.end == p.start && last.coordinated == p.coordinated {
			last.end = p.end
			return
		}
	}
	f.places[key] = append(f.places[key], p)
}

// walk notes a run of a device, and where it lies below.
func (f *Footprint) walk(n *Node, start, end Sector, coordinated bool, above *trail) {
	if f.blind || start >= end {
		return
	}
	f.add(f.st.key(n), place{n, start, end, coordinated, above})
	below := &trail{n.Dev, above}
	switch lower := n.lower(); {
	case n.Layer == nil:
	case n.LowerUnknown:
		f.blind = true
	case n.Storage != nil && len(lower) == 1:
		f.enter(n, lower[0], n.Storage.Start+start, n.Storage.Start+end+n.Storage.slack(), below)
	case n.Storage != nil:
		f.add(f.st.storage(n), place{n, n.Storage.Start + start, n.Storage.Start + end + n.Storage.slack(), false, below})
	default:
		f.walkLayer(n, start, end, below)
	}
}

func (n *Node) lower() []Dev {
	if n.Layer == nil {
		return nil
	}
	return n.Layer.Below()
}

// slack is the sector more that something reaches into that begins within a sector.
func (s *Storage) slack() Sector {
	if s.Ragged {
		return 1
	}
	return 0
}

// walkLayer notes where a run is read and written below, or, as far as that is not
// told, all of every device below. What all of a device rests on and nothing is mapped to
// holds what the layer keeps for itself.
func (f *Footprint) walkLayer(n *Node, start, end Sector, below *trail) {
	runs, named := 0, make(map[Dev]bool)
	for _, op := range []Op{Read, Write} {
		for at := start; at < end; {
			if next, whole := reach(n.Layer, at); next > at {
				for _, r := range whole {
					named[r.Dev] = true
					f.enter(n, r.Dev, r.Start, r.End(), below)
				}
				at = next
				continue
			}
			p := n.Layer.Map(op, at, end-at)
			runs++
			if p.Kind == Opaque || p.Len < 1 || p.Len > end-at || runs > maxRuns {
				f.enterAll(n, below, nil)
				return
			}
			f.enterPlace(n, p, below, named)
			at += p.Len
		}
	}
	if start == 0 && end == n.Size {
		f.enterAll(n, below, named)
	}
}

func reach(l Layer, s Sector) (Sector, []Range) {
	if r, ok := l.(Reacher); ok {
		return r.Reach(s)
	}
	return s, nil
}

func (f *Footprint) enterPlace(n *Node, p Place, below *trail, named map[Dev]bool) {
	switch p.Kind {
	case Data, Cipher:
		named[p.Leg.Dev] = true
		f.enter(n, p.Leg.Dev, p.Leg.Start, p.Leg.Start+p.Len, below)
	case Replica:
		for _, leg := range p.Legs {
			named[leg.Dev] = true
			f.enter(n, leg.Dev, leg.Start, leg.Start+p.Len, below)
		}
	}
}

// enterAll notes all of every device below, but for some.
func (f *Footprint) enterAll(n *Node, below *trail, but map[Dev]bool) {
	for _, dev := range n.lower() {
		if lower := f.st.nodes[dev]; lower != nil && !but[dev] {
			f.enter(n, dev, 0, lower.Size, below)
		}
	}
}

func (f *Footprint) enter(n *Node, dev Dev, start, end Sector, below *trail) {
	lower := f.st.nodes[dev]
	if lower == nil {
		f.blind = true
		return
	}
	coordinated := false
	for _, a := range n.Coordinated {
		coordinated = coordinated || a == dev
	}
	f.walk(lower, start, end, coordinated, below)
}

// key is what stands for a device: the first leaf of its name, or the device itself.
func (st *Stack) key(n *Node) any {
	if n.Leaf != nil && n.Leaf.Identity != "" {
		return n.Leaf.Identity
	}
	return n.Dev
}

// storage is what stands for the storage of a device: the first device that may be
// stored in the same thing.
func (st *Stack) storage(n *Node) any {
	for _, other := range st.order {
		if n.Storage.Same(other.Storage) {
			return *other.Storage
		}
	}
	return *n.Storage
}
