package remap

import "fmt"

// Op is the side for which a range is resolved. The two are different
// questions: a leg of a mirror is a fine source and a forbidden destination.
type Op uint8

const (
	Read Op = iota
	Write
)

func (op Op) String() string {
	if op == Write {
		return "write"
	}
	return "read"
}

// Kind says what an extent is made of.
type Kind uint8

const (
	// Data lives in one place.
	Data Kind = iota + 1
	// Replica lives in several equal places: read any readable leg, write all.
	Replica
	// Zero reads as zeroes and has no place.
	Zero
	// Cipher lives in one place, transformed.
	Cipher
	// Opaque cannot be resolved below its device; Reason says why.
	Opaque
	// Error fails when it is read or written.
	Error
)

var kindNames = [...]string{Data: "data", Replica: "replica", Zero: "zero", Cipher: "cipher", Opaque: "opaque", Error: "error"}

func (k Kind) String() string {
	if int(k) < len(kindNames) && kindNames[k] != "" {
		return kindNames[k]
	}
	return fmt.Sprintf("kind(%d)", uint8(k))
}

// Reason is a stable slug that says why bytes cannot be resolved or were not
// offloaded, such as "layer:crypt". Reports and scripts rely on the spelling.
type Reason string

// Leg is one place of an extent: Start is a sector on the leaf Dev.
type Leg struct {
	Dev      Dev
	Start    Sector
	Readable bool
}

// Extent is one piece of the answer to "where does this range live?".
type Extent struct {
	// Start is the first sector on the device that was asked about, Len the
	// length there and on every leg.
	Start, Len Sector
	Kind       Kind
	// Leg is the place of Data and Cipher. For every other kind it is the
	// place on the device at which resolving stopped.
	Leg Leg
	// Legs are the places of a Replica, nil for every other kind.
	Legs []Leg
	// Cipher and IV are set for Cipher, as in [Place]; nil and 0 where more
	// than one layer enciphers.
	Cipher *CipherKey
	IV     uint64
	// Blank is set for Opaque as in [Place], in units of the device of Leg; 0 where a
	// layer above does not show zeroes as zeroes.
	Blank Sector
	// Reason is set for Opaque and Error.
	Reason Reason
	// Via is the chain of layers that led here.
	Via *Via
}

// End returns the first sector behind the extent on the device asked about.
func (e *Extent) End() Sector { return e.Start + e.Len }

// follows tells whether e continues prev without a seam, so that both can be
// answered as one extent.
func (e *Extent) follows(prev *Extent) bool {
	if e.Kind != prev.Kind || e.Via != prev.Via || e.Reason != prev.Reason || e.Blank != prev.Blank ||
		e.Start != prev.End() || len(e.Legs) != len(prev.Legs) || !e.ivFollows(prev) {
		return false
	}
	switch e.Kind {
	case Zero:
		return e.Leg.Dev == prev.Leg.Dev
	case Replica:
		for i := range e.Legs {
			if !e.Legs[i].follows(prev.Legs[i], prev.Len) {
				return false
			}
		}
		return true
	default:
		return e.Leg.follows(prev.Leg, prev.Len)
	}
}

func (l Leg) follows(prev Leg, length Sector) bool {
	return l.Dev == prev.Dev && l.Readable == prev.Readable && l.Start == prev.Start+length
}

// advance cuts n sectors off the front of e. Legs are copied, because layers
// and cursors share them.
func (e *Extent) advance(n Sector) {
	e.Start += n
	e.Len -= n
	e.Leg.Start += n
	if e.Cipher != nil {
		e.IV += uint64(n)
	}
	if e.Legs != nil {
		legs := make([]Leg, len(e.Legs))
		for i, leg := range e.Legs {
			leg.Start += n
			legs[i] = leg
		}
		e.Legs = legs
	}
}
