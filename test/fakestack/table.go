package fakestack

import (
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/dmtable"
	"github.com/dmcopy/dmcopy/remap"
)

// Place is a sector of a device.
type Place struct {
	Dev   remap.Dev
	Start remap.Sector
}

func (p Place) plus(n remap.Sector) Place { return Place{p.Dev, p.Start + n} }

// Segment is a run of a mapped device: Len sectors, mapped by Target.
type Segment struct {
	Len    remap.Sector
	Target Target
}

// Target says where the sectors of a segment live: the truth of this kernel.
type Target interface {
	// bio says what becomes of the sector off of the segment.
	bio(write bool, off remap.Sector) bio
	// line is the type and the parameters that dm prints.
	line() (typ, params string)
	below() []remap.Dev
}

// bio is what becomes of one sector, one level down.
type bio struct {
	to   []Place // all of these
	key  uint64  // what is stored there is scrambled with this, unless 0
	zero bool    // reads as zeroes, writes are dropped
	err  error
	// sealed is set where the sector is enciphered together with others; to
	// is where its share of the ciphertext lies.
	sealed *Seal
	// cow are the snapshots that want what is there before it is written.
	cow []*Snapshot
}

// Linear is one run of another device.
type Linear Place

func (t Linear) bio(_ bool, off remap.Sector) bio { return bio{to: []Place{Place(t).plus(off)}} }
func (t Linear) line() (string, string)           { return "linear", fmt.Sprintf("%s %d", t.Dev, t.Start) }
func (t Linear) below() []remap.Dev               { return []remap.Dev{t.Dev} }

// Striped deals chunks to its legs in turn.
type Striped struct {
	Chunk remap.Sector
	Legs  []Place
}

func (t Striped) bio(_ bool, off remap.Sector) bio {
	number, inside := off/t.Chunk, off%t.Chunk
	legs := remap.Sector(len(t.Legs))
	row, leg := number/legs, number%legs
	return bio{to: []Place{t.Legs[leg].plus(row*t.Chunk + inside)}}
}

func (t Striped) line() (string, string) {
	var b strings.Builder
	fmt.Fprintf(&b, "%d %d", len(t.Legs), t.Chunk)
	for _, leg := range t.Legs {
		fmt.Fprintf(&b, " %s %d", leg.Dev, leg.Start)
	}
	return "striped", b.String()
}

func (t Striped) below() []remap.Dev {
	var devs []remap.Dev
	for _, leg := range t.Legs {
		devs = append(devs, leg.Dev)
	}
	return devs
}

// Zero reads as zeroes and drops what is written.
type Zero struct{}

func (Zero) bio(bool, remap.Sector) bio { return bio{zero: true} }
func (Zero) line() (string, string)     { return "zero", "" }
func (Zero) below() []remap.Dev         { return nil }

// Error fails.
type Error struct{}

func (Error) bio(bool, remap.Sector) bio { return bio{err: unix.EIO} }
func (Error) line() (string, string)     { return "error", "" }
func (Error) below() []remap.Dev         { return nil }

// Scramble is a target of a type that nobody knows. Below it lies something
// else than what is read from it, and it is stored backwards.
type Scramble struct {
	Place
	Len remap.Sector // of the segment
}

func (t Scramble) bio(_ bool, off remap.Sector) bio {
	return bio{to: []Place{t.plus(t.Len - 1 - off)}, key: uint64(off) + 1}
}
func (t Scramble) line() (string, string) { return "scramble", fmt.Sprintf("%s %d", t.Dev, t.Start) }
func (t Scramble) below() []remap.Dev     { return []remap.Dev{t.Dev} }

// Mirror keeps the same on several legs. Only legs that are in sync are read.
// It is not a target of device-mapper but makes up a whole device, as md does.
type Mirror struct {
	Legs  []Place
	Stale []bool // legs that are not in sync, by index; may be short
}

func (t Mirror) inSync(i int) bool { return i >= len(t.Stale) || !t.Stale[i] }

func (t Mirror) bio(write bool, off remap.Sector) bio {
	var b bio
	for i, leg := range t.Legs {
		if write || t.inSync(i) {
			b.to = append(b.to, leg.plus(off))
		}
	}
	switch {
	case len(b.to) == 0:
		b.err = unix.EIO
	case !write:
		b.to = b.to[:1]
	}
	return b
}
func (t Mirror) line() (string, string) { return "raid1", fmt.Sprint(t.Legs, t.Stale) }
func (t Mirror) below() []remap.Dev     { return Striped{Legs: t.Legs}.below() }

// Map implements remap.Layer.
func (t Mirror) Map(_ remap.Op, s, n remap.Sector) remap.Place {
	p := remap.Place{Len: n, Kind: remap.Replica, Layer: "md:raid1"}
	for i, leg := range t.Legs {
		p.Legs = append(p.Legs, remap.Leg{Dev: leg.Dev, Start: leg.Start + s, Readable: t.inSync(i)})
	}
	return p
}

// Below implements remap.Layer.
func (t Mirror) Below() []remap.Dev { return t.below() }

// table is a list of segments without gaps.
type table []Segment

func (t table) size() (n remap.Sector) {
	for _, s := range t {
		n += s.Len
	}
	return n
}

// bio finds the segment of a sector.
func (t table) bio(write bool, s remap.Sector) bio {
	target, off := t.segment(s)
	return target.bio(write, off)
}

// segment goes through the segments, one after the other. Behind the last is nothing.
func (t table) segment(s remap.Sector) (Target, remap.Sector) {
	for _, seg := range t {
		if s < seg.Len {
			return seg.Target, s
		}
		s -= seg.Len
	}
	return Error{}, s
}

func (t table) below() []remap.Dev {
	var devs []remap.Dev
	seen := make(map[remap.Dev]bool)
	for _, seg := range t {
		for _, dev := range seg.Target.below() {
			if !seen[dev] {
				seen[dev] = true
				devs = append(devs, dev)
			}
		}
	}
	return devs
}

// String is everything that a fingerprint depends on.
func (t table) String() string {
	var b strings.Builder
	for _, seg := range t {
		typ, params := seg.Target.line()
		fmt.Fprintf(&b, "%d %s %s\n", seg.Len, typ, params)
	}
	return b.String()
}

// layer maps the table as the machine would read it now.
func (t table) layer() remap.Layer {
	l := ownMap{starts: []remap.Sector{0}, dm: t.dm(), lower: t.below()}
	own := false
	for _, seg := range t {
		var places mapping
		if p, ok := seg.Target.(placer); ok {
			places, own = p.freeze(), true
		}
		l.own = append(l.own, places)
		l.starts = append(l.starts, l.starts[len(l.starts)-1]+seg.Len)
	}
	if !own {
		return l.dm
	}
	return l
}

// copiesOnWrite tells whether the layer gains entries without a change of the table.
func (t table) copiesOnWrite() bool {
	return slices.ContainsFunc(t, func(seg Segment) bool { _, ok := seg.Target.(*Snapshot); return ok })
}

// dm is the table as package dmtable reads it.
func (t table) dm() remap.Layer {
	read := dmtable.Table{Deps: t.below()}
	var start remap.Sector
	for _, seg := range t {
		typ, params := seg.Target.line()
		read.Targets = append(read.Targets, dmtable.Target{Start: start, Len: seg.Len, Type: typ, Params: params})
		start += seg.Len
	}
	return read.Layer()
}

// Below lists what the table of a device rests on.
func (m *Machine) Below(dev remap.Dev) []remap.Dev {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.devices[dev].table.below()
}
