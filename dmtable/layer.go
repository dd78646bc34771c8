package dmtable

import (
	"slices"
	"sort"
	"sync/atomic"

	"github.com/dmcopy/dmcopy/remap"
)

// Reasons for what a table does not map.
const (
	// ReasonGap: the lines do not follow each other, or end before the range.
	ReasonGap remap.Reason = "layer:dm-gap"
	// ReasonNoTable: the device has no live table.
	ReasonNoTable remap.Reason = "layer:dm-no-table"
)

// layerDM names a device whose table as a whole is not mapped.
const layerDM = "dm"

// Layer maps the table. Lines that are not understood are opaque with a reason
// that names their type; a table whose lines do not follow each other from
// sector 0 is opaque as a whole.
func (t *Table) Layer() remap.Layer { return t.TrustedLayer(Trust{}) }

// Trust is what the operator lets a source be read without.
type Trust struct {
	// Verity and Integrity: the checks of dm-verity and of dm-integrity. The
	// layers below them are read as they are.
	Verity, Integrity bool
}

// TrustedLayer is Layer for an operator who lets checks be left out.
func (t *Table) TrustedLayer(trust Trust) remap.Layer {
	if len(t.Targets) == 0 {
		return remap.OpaqueLayer{Layer: layerDM, Reason: ReasonNoTable, Lower: t.below(nil)}
	}
	m := &tableMap{starts: make([]remap.Sector, 0, len(t.Targets)+1), lines: make([]mapping, 0, len(t.Targets))}
	p := lineParser{trust: trust}
	end := remap.Sector(0)
	for i := range t.Targets {
		target := &t.Targets[i]
		if target.Start != end || target.Len < 1 || target.Len > remap.MaxSectors-end {
			return remap.OpaqueLayer{Layer: layerDM, Reason: ReasonGap, Lower: t.below(nil)}
		}
		m.starts = append(m.starts, end)
		m.lines = append(m.lines, p.parse(target))
		end += target.Len
	}
	m.starts = append(m.starts, end)
	m.lower = t.below(p.devs.list)
	return m
}

// below lists each device once: the ones that lines name and the ones that the
// table holds open, metadata and logs included.
func (t *Table) below(named []remap.Dev) []remap.Dev {
	var lower devSet
	lower.add(t.Deps)
	lower.add(named)
	return lower.list
}

// Named lists each device that the lines name and that is mapped to, once. All
// of them are among Deps unless the table changed in between.
func (t *Table) Named() []remap.Dev {
	var p lineParser
	for i := range t.Targets {
		p.parse(&t.Targets[i])
	}
	return p.devs.list
}

// Notes say for people what state the targets are in, each thing once.
func (t *Table) Notes() []string {
	var p lineParser
	var notes []string
	if t.Bypassed() {
		notes = append(notes, "the file system above encrypts some blocks itself, and this layer leaves those as they are: copy the device below, to equal positions")
	}
	for i := range t.Targets {
		n, ok := p.parse(&t.Targets[i]).(noter)
		if !ok {
			continue
		}
		for _, text := range n.notes() {
			if !slices.Contains(notes, text) {
				notes = append(notes, text)
			}
		}
	}
	return notes
}

// lineParser parses lines one after the other.
type lineParser struct {
	trust Trust
	args  args
	// devs are the devices of all lines that were accepted, each once.
	devs devSet
	// last is kept for the neighbours of an opaque line, which often are
	// opaque for the same reason.
	last *opaque
}

func (p *lineParser) parse(t *Target) mapping {
	known, ok := targets[t.Type]
	if !ok {
		return p.opaque(t.Type, "")
	}
	p.args.reset(t.Params)
	p.args.trust = p.trust
	m := known.parse(t, &p.args)
	if !p.args.done() {
		return p.opaque(t.Type, "-unparsed")
	}
	p.devs.add(p.args.devs)
	return m
}

func (p *lineParser) opaque(typ, why string) mapping {
	reason := "layer:" + typ + why
	if p.last == nil || string(p.last.reason) != reason {
		p.last = &opaque{layer: "dm:" + typ, reason: remap.Reason(reason)}
	}
	return p.last
}

// devSet holds each device once, in the order of arrival.
type devSet struct {
	list []remap.Dev
	seen map[remap.Dev]bool
}

func (s *devSet) add(devs []remap.Dev) {
	for _, dev := range devs {
		if s.seen[dev] {
			continue
		}
		if s.seen == nil {
			s.seen = make(map[remap.Dev]bool)
		}
		s.seen[dev] = true
		s.list = append(s.list, dev)
	}
}

// tableMap is the layer of a table.
type tableMap struct {
	// starts holds the first sector of each line, and the end of the last.
	starts []remap.Sector
	lines  []mapping
	lower  []remap.Dev
	// hint is the line that was asked for last: walks go from line to line.
	hint atomic.Int64
}

// Map implements [remap.Layer].
func (m *tableMap) Map(op remap.Op, s, n remap.Sector) remap.Place {
	if s < 0 || s >= m.starts[len(m.lines)] {
		return remap.Place{Len: n, Kind: remap.Opaque, Reason: ReasonGap, Layer: layerDM}
	}
	i := m.find(s)
	return m.lines[i].place(op, s-m.starts[i], min(n, m.starts[i+1]-s))
}

// Reach implements [remap.Reacher], for lines that are striped.
func (m *tableMap) Reach(s remap.Sector) (remap.Sector, []remap.Range) {
	if s < 0 || s >= m.starts[len(m.lines)] {
		return s, nil
	}
	i := m.find(s)
	striped, ok := m.lines[i].(*striped)
	if !ok {
		return s, nil
	}
	return m.starts[i+1], striped.reach(m.starts[i+1] - m.starts[i])
}

// Below implements [remap.Layer].
func (m *tableMap) Below() []remap.Dev { return m.lower }

// find returns the line that holds sector s.
func (m *tableMap) find(s remap.Sector) int {
	last := int(m.hint.Load())
	i := last
	switch {
	case m.holds(i, s):
		return i
	case i+1 < len(m.lines) && m.holds(i+1, s):
		i++
	default:
		i = sort.Search(len(m.lines), func(i int) bool { return m.starts[i+1] > s })
	}
	m.hint.Store(int64(i))
	return i
}

func (m *tableMap) holds(i int, s remap.Sector) bool {
	return m.starts[i] <= s && s < m.starts[i+1]
}
