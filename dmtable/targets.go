package dmtable

import (
	"github.com/dmcopy/dmcopy/remap"
)

// targets are the target types that are known. Every other type is opaque.
var targets = map[string]personality{
	"linear":        {parse: parseLinear},
	"striped":       {parse: parseStriped},
	"unstriped":     {parse: parseUnstriped},
	"error":         {parse: parseError},
	"zero":          {parse: parseZero},
	"delay":         {parse: parseDelay},
	typeCrypt:       {parse: parseCrypt, secret: true},
	typeInlineCrypt: {parse: parseInlineCrypt, secret: true},
	typeSnapshot:    {parse: parseSnapshot, condense: condenseSnapshot},
	typeThin:        {parse: parseThin, condense: condenseThin},
	typeThinPool:    {parse: parsePool, condense: condensePool},

	"cache":           {parse: parseCache, condense: condenseCache},
	"clone":           {parse: parseClone, condense: condenseClone},
	"dust":            {parse: parseDust},
	"ebs":             {parse: parseEBS},
	"era":             {parse: parseEra},
	"flakey":          {parse: parseFlakey},
	typeIntegrity:     {parse: parseIntegrity, secret: true},
	"log-writes":      {parse: parseLogWrites},
	"mirror":          {parse: parseMirror, condense: condenseMirror},
	"multipath":       {parse: parseMultipath, condense: condensePath},
	typeRaid:          {parse: parseRaid, condense: condenseRaid},
	"snapshot-merge":  {parse: parseMerge},
	"snapshot-origin": {parse: parseOrigin},
	"verity":          {parse: parseVerity, condense: condenseVerity},
	"writecache":      {parse: parseWritecache, condense: condenseWritecache},
}

// A personality is what we know of a target type.
type personality struct {
	parse parser
	// condense condenses the status line of a target to what its map depends on,
	// leaving out what moves all the time; nil where the map depends on the
	// table line alone. Equal results mean an equal map. A status line that
	// is not understood is its own condensate.
	condense func(status string) string
	// secret tells that the lines may hold keys, and are never kept.
	secret bool
}

// A parser turns the parameters of one target line into its mapping. It reads
// them from args, which notes what is wrong and which devices are named; the
// line is accepted only if nothing was wrong and nothing is left over. What is
// understood but not mapped in its present state is opaque with a reason of its
// own: [args.opaque].
type parser func(t *Target, a *args) mapping

// A mapping is one line of a table.
type mapping interface {
	// place answers for the run of at most n sectors at sector off of the
	// line. The caller has cut n to the end of the line.
	place(op remap.Op, off, n remap.Sector) remap.Place
}

// A noter is a mapping that has something to tell people of its state.
type noter interface{ notes() []string }

// noted is a mapping with notes of its own.
type noted struct {
	mapping
	texts []string
}

func (m *noted) notes() []string { return m.texts }

// data is the place of a run that lives at sector s of dev.
func data(layer string, dev remap.Dev, s, n remap.Sector) remap.Place {
	return remap.Place{
		Len: n, Kind: remap.Data,
		Leg:   remap.Leg{Dev: dev, Start: s, Readable: true},
		Layer: layer,
	}
}

// noPlace is the answer for a run that is not mapped.
func noPlace(layer string, reason remap.Reason, n remap.Sector) remap.Place {
	return remap.Place{Len: n, Kind: remap.Opaque, Reason: reason, Layer: layer}
}

// opaque is a line that is not mapped.
type opaque struct {
	layer  string
	reason remap.Reason
}

func (m *opaque) place(_ remap.Op, _, n remap.Sector) remap.Place {
	return noPlace(m.layer, m.reason, n)
}
