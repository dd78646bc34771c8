package remap_test

import (
	"fmt"

	"github.com/dmcopy/dmcopy/remap"
)

// The model of these tests is a table of runs, kept as plain as possible, and a
// function that follows a single sector through it by recursion.

// run is a part of a mapped device.
type run struct {
	n      remap.Sector
	kind   remap.Kind
	legs   []remap.Leg
	chunk  remap.Sector // > 0: the legs are stripes
	reason remap.Reason
}

// model is a Layer of runs.
type model struct {
	name string
	runs []run
	step remap.Sector // > 0: no answer is longer
}

func (m *model) Map(_ remap.Op, s, n remap.Sector) remap.Place {
	for _, r := range m.runs {
		if s >= r.n {
			s -= r.n
			continue
		}
		n = min(n, r.n-s)
		if m.step > 0 {
			n = min(n, m.step)
		}
		p := remap.Place{Len: n, Kind: r.kind, Reason: r.reason, Layer: m.name}
		switch {
		case r.chunk > 0:
			leg, at := r.stripe(s)
			p.Len = min(n, r.chunk-s%r.chunk)
			p.Leg = remap.Leg{Dev: leg.Dev, Start: at, Readable: true}
		case r.kind == remap.Replica:
			for _, leg := range r.legs {
				leg.Start += s
				p.Legs = append(p.Legs, leg)
			}
		case len(r.legs) == 1:
			p.Leg = r.legs[0]
			p.Leg.Start += s
		}
		return p
	}
	return remap.Place{Len: n, Kind: remap.Opaque, Reason: "layer:gap", Layer: m.name}
}

func (r *run) stripe(s remap.Sector) (remap.Leg, remap.Sector) {
	number := s / r.chunk
	leg := r.legs[int(number)%len(r.legs)]
	return leg, leg.Start + number/remap.Sector(len(r.legs))*r.chunk + s%r.chunk
}

func (m *model) Below() []remap.Dev {
	var devs []remap.Dev
	for _, r := range m.runs {
		for _, leg := range r.legs {
			devs = append(devs, leg.Dev)
		}
	}
	return devs
}

// answer is what the oracle says about one sector.
type answer struct {
	kind remap.Kind
	legs []remap.Leg // one for Data and Cipher
	via  string
}

// oracle follows sector s of dev through the models.
func oracle(st *remap.Stack, dev remap.Dev, s remap.Sector) answer {
	n := st.Node(dev)
	if n == nil || s < 0 || s >= n.Size {
		return answer{kind: remap.Opaque}
	}
	if n.Layer == nil {
		return answer{kind: remap.Data, legs: []remap.Leg{{Dev: dev, Start: s, Readable: true}}}
	}
	m := n.Layer.(*model)
	name := fmt.Sprintf("%s=%s ", dev, m.name)
	for _, r := range m.runs {
		if s >= r.n {
			s -= r.n
			continue
		}
		if r.chunk > 0 {
			leg, at := r.stripe(s)
			below := oracle(st, leg.Dev, at)
			below.via = name + below.via
			return below
		}
		return r.follow(st, s, name)
	}
	return answer{kind: remap.Opaque, via: name}
}

func (r *run) follow(st *remap.Stack, s remap.Sector, name string) answer {
	switch r.kind {
	case remap.Data, remap.Cipher:
		below := oracle(st, r.legs[0].Dev, r.legs[0].Start+s)
		below.via = name + below.via
		switch {
		case r.kind == remap.Data || below.kind == remap.Error || below.kind == remap.Opaque:
		case below.kind == remap.Data || below.kind == remap.Cipher:
			below.kind = remap.Cipher
		default: // what is decrypted is not what is stored
			return answer{kind: remap.Opaque, via: below.via}
		}
		return below
	case remap.Replica:
		a := answer{kind: remap.Replica, via: name}
		for _, leg := range r.legs {
			below := oracle(st, leg.Dev, leg.Start+s)
			if below.kind != remap.Data && below.kind != remap.Replica {
				return answer{kind: remap.Opaque, via: name}
			}
			for _, l := range below.legs {
				l.Readable = l.Readable && leg.Readable
				a.legs = append(a.legs, l)
			}
		}
		return a
	}
	return answer{kind: r.kind, via: name}
}

// at is what an extent says about the sector off of it.
func at(e *remap.Extent, off remap.Sector) answer {
	a := answer{kind: e.Kind}
	for _, link := range e.Via.Chain() {
		a.via += fmt.Sprintf("%s=%s ", link.Dev, link.Layer)
	}
	switch e.Kind {
	case remap.Data, remap.Cipher:
		a.legs = []remap.Leg{e.Leg}
	case remap.Replica:
		a.legs = append(a.legs, e.Legs...)
	}
	for i := range a.legs {
		a.legs[i].Start += off
	}
	return a
}

func (a answer) String() string { return fmt.Sprintf("%s %v via %s", a.kind, a.legs, a.via) }

// Devices of the tests: leaves have major 8, mapped ones 254.
func leafDev(i int) remap.Dev { return remap.Dev{Major: 8, Minor: uint32(i)} }
func dm(i int) remap.Dev      { return remap.Dev{Major: 254, Minor: uint32(i)} }

func leaf(i int, size remap.Sector) *remap.Node {
	return &remap.Node{Dev: leafDev(i), Name: fmt.Sprint("leaf", i), Size: size, BlockSize: 512, Leaf: &remap.Leaf{Driver: "nvme"}}
}

func node(i int, m *model) *remap.Node {
	n := &remap.Node{Dev: dm(i), Name: fmt.Sprint("dm-", i), BlockSize: 512, Layer: m, Condition: remap.Condition{Mutable: true}}
	for _, r := range m.runs {
		n.Size += r.n
	}
	return n
}

func data(n remap.Sector, dev remap.Dev, start remap.Sector) run {
	return run{n: n, kind: remap.Data, legs: []remap.Leg{{Dev: dev, Start: start, Readable: true}}}
}

func cipher(n remap.Sector, dev remap.Dev, start remap.Sector) run {
	r := data(n, dev, start)
	r.kind = remap.Cipher
	return r
}

func linear(runs ...run) *model { return &model{name: "dm:linear", runs: runs} }

func striped(n, chunk remap.Sector, legs ...remap.Leg) *model {
	return &model{name: "dm:striped", runs: []run{{n: n, kind: remap.Data, chunk: chunk, legs: legs}}}
}

func leg(dev remap.Dev, start remap.Sector) remap.Leg {
	return remap.Leg{Dev: dev, Start: start, Readable: true}
}

func mirror(n remap.Sector, legs ...remap.Leg) run {
	return run{n: n, kind: remap.Replica, legs: legs}
}
