package raidmap

import (
	"slices"
	"strings"

	"github.com/dmcopy/dmcopy/remap"
)

// Config says what an array is made of.
type Config struct {
	// Layer names what maps the array, "md:raid5" or "dm:raid": see
	// [remap.Place]. What stands in front of the colon begins the reasons that
	// are not those of a level: "layer:md-unsynced".
	Layer    string
	Geometry Geometry
	// Members are in order of slots, one for each.
	Members []Member
	// Others are devices that belong to the array and hold no data of it:
	// spares, journals.
	Others []remap.Dev
	// Synced: from this sector of the array on, copies may differ from each
	// other. [remap.MaxSectors] if all are in sync. It matters for mirrored
	// geometries only.
	Synced remap.Sector
	// Sealed is why nothing may be written below the array; empty if the level
	// alone decides.
	Sealed remap.Reason
}

// Array maps an array onto its members. What may be read and written below it
// is decided here:
//
//   - Data of raid0, linear and parity levels is read where it is, if that
//     member can be read; what would have to be computed from parity is opaque.
//   - Copies are a Replica of all that are there. At least one has to be
//     readable, and all have to be in sync.
//   - raid0 and linear are written where the data is. Copies are a Replica,
//     which cannot be written behind the back of the array: its bitmap would
//     not know (drivers/md/raid1.c, raid1_write_request). If one is missing,
//     they are opaque: the array has to note what the missing one lacks. Levels
//     with parity are opaque.
type Array struct {
	Config
	mirrored Mirrored // nil for other geometries
	parity   bool
	lower    []remap.Dev
	reasons  reasons
	legs     remap.LegSlab // of answers
}

// reasons are put together once: answers do not allocate.
type reasons struct {
	gap, unsynced, missing, degraded, parity remap.Reason
}

// New checks that the members fit the geometry and makes an array of them.
func New(c Config) (*Array, error) {
	a := &Array{Config: c}
	g := c.Geometry
	if len(c.Members) != g.Disks() {
		return nil, fail(g.Level(), errMember, "%d of them in %d slots", len(c.Members), g.Disks())
	}
	if c.Synced < 0 {
		return nil, fail(g.Level(), errMember, "copies in sync up to sector %d", c.Synced)
	}
	a.Members = make([]Member, len(c.Members))
	for slot := range c.Members {
		m := c.Members[slot].clone()
		if err := m.check(g.Level(), slot, g.Reach(slot)); err != nil {
			return nil, err
		}
		a.Members[slot] = m
		a.rest(m.Dev)
		a.rest(m.Replacement)
	}
	for _, dev := range c.Others {
		a.rest(dev)
	}
	a.mirrored, _ = g.(Mirrored)
	_, a.parity = g.(*Parity)
	a.reasons = reasonsOf(c.Layer, g.Level())
	return a, nil
}

// rest notes a device that the array rests on.
func (a *Array) rest(dev remap.Dev) {
	if !dev.IsZero() && !slices.Contains(a.lower, dev) {
		a.lower = append(a.lower, dev)
	}
}

func reasonsOf(layer, level string) reasons {
	family, _, _ := strings.Cut(layer, ":")
	reason := func(of, what string) remap.Reason { return remap.Reason("layer:" + of + "-" + what) }
	return reasons{
		gap:      reason(family, "gap"),
		unsynced: reason(family, "unsynced"),
		missing:  reason(level, "missing-member"),
		degraded: reason(level, "degraded"),
		parity:   reason(level, "parity"),
	}
}

// Below implements [remap.Layer].
func (a *Array) Below() []remap.Dev { return a.lower }

// Map implements [remap.Layer].
func (a *Array) Map(op remap.Op, s, n remap.Sector) remap.Place {
	size := a.Geometry.Size()
	if s < 0 || s >= size {
		return a.opaque(n, a.reasons.gap)
	}
	n = min(n, size-s)
	switch {
	case op == remap.Write && a.parity:
		return a.opaque(n, a.reasons.parity)
	case op == remap.Write && a.Sealed != "":
		return a.opaque(n, a.Sealed)
	case a.mirrored != nil:
		return a.copies(op, s, n)
	}
	return a.single(s, n)
}

func (a *Array) opaque(n remap.Sector, reason remap.Reason) remap.Place {
	return remap.Place{Len: n, Kind: remap.Opaque, Reason: reason, Layer: a.Layer}
}

// single answers for data that is in one place.
func (a *Array) single(s, n remap.Sector) remap.Place {
	run := a.Geometry.At(s, n)
	m := &a.Members[run.Slot]
	ok, length := m.readable(run.Start, run.Len)
	if !ok {
		return a.opaque(length, a.reasons.missing)
	}
	return remap.Place{
		Len: length, Kind: remap.Data,
		Leg:   remap.Leg{Dev: m.Dev, Start: m.Offset + run.Start, Readable: true},
		Layer: a.Layer,
	}
}

// copies answers for data that is in several places.
func (a *Array) copies(op remap.Op, s, n remap.Sector) remap.Place {
	if op == remap.Read {
		if s >= a.Synced {
			return a.opaque(n, a.reasons.unsynced)
		}
		n = min(n, a.Synced-s)
	}
	n = a.mirrored.Together(s, n)
	count := a.mirrored.Copies()
	legs := a.legs.Take(count)
	readable, missing := 0, 0
	for i := range count {
		spot := a.mirrored.Copy(s, i)
		m := &a.Members[spot.Slot]
		if m.missing() {
			missing++
			continue
		}
		ok, length := m.readable(spot.Start, n)
		if n = length; ok {
			readable++
		}
		legs = append(legs, remap.Leg{Dev: m.Dev, Start: m.Offset + spot.Start, Readable: ok})
		if !m.Replacement.IsZero() {
			legs = append(legs, remap.Leg{Dev: m.Replacement, Start: m.ReplacementOffset + spot.Start})
		}
	}
	switch {
	case op == remap.Read && readable == 0:
		return a.opaque(n, a.reasons.missing)
	case op == remap.Write && missing > 0:
		return a.opaque(n, a.reasons.degraded)
	}
	return remap.Place{Len: n, Kind: remap.Replica, Legs: legs, Layer: a.Layer}
}
