package dmtable

import (
	"github.com/dmcopy/dmcopy/remap"
)

// targets are the target types that are mapped. Every other type is opaque.
var targets = map[string]parser{
	"linear":    parseLinear,
	"striped":   parseStriped,
	"unstriped": parseUnstriped,
	"error":     parseError,
	"zero":      parseZero,
	"delay":     parseDelay,
	typeCrypt:   parseCrypt,
}

// A parser turns the parameters of one target line into its mapping. It reads
// them from args, which notes what is wrong and which devices are named; the
// line is accepted only if nothing was wrong and nothing is left over.
type parser func(t *Target, a *args) mapping

// A mapping is one line of a table.
type mapping interface {
	// place answers for the run of at most n sectors at sector off of the
	// line. The caller has cut n to the end of the line.
	place(op remap.Op, off, n remap.Sector) remap.Place
}

// data is the place of a run that lives at sector s of dev.
func data(layer string, dev remap.Dev, s, n remap.Sector) remap.Place {
	return remap.Place{
		Len: n, Kind: remap.Data,
		Leg:   remap.Leg{Dev: dev, Start: s, Readable: true},
		Layer: layer,
	}
}

// opaque is a line that is not mapped.
type opaque struct {
	layer  string
	reason remap.Reason
}

func (m *opaque) place(_ remap.Op, _, n remap.Sector) remap.Place {
	return remap.Place{Len: n, Kind: remap.Opaque, Reason: m.reason, Layer: m.layer}
}
