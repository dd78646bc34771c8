package dmtable

import "github.com/dmcopy/dmcopy/remap"

// striped deals chunks to its stripes in turn (drivers/md/dm-stripe.c):
//
//	<stripes> <chunk> {<dev> <start>}…
type striped struct {
	chunk   remap.Sector
	stripes []linear
}

func parseStriped(_ *Target, a *args) mapping {
	stripes := a.number()
	m := &striped{chunk: a.sector()}
	for i := int64(0); i < stripes && a.more(); i++ {
		m.stripes = append(m.stripes, linear{a.dev(), a.sector()})
	}
	if stripes < 1 || int64(len(m.stripes)) != stripes || m.chunk < 1 {
		a.reject()
	}
	return m
}

func (m *striped) place(_ remap.Op, off, n remap.Sector) remap.Place {
	chunk, inside := off/m.chunk, off%m.chunk
	width := remap.Sector(len(m.stripes))
	stripe := m.stripes[chunk%width]
	return data("dm:striped", stripe.dev, stripe.start+chunk/width*m.chunk+inside, min(n, m.chunk-inside))
}

// reach is where so many sectors of the line, from its beginning, lie.
func (m *striped) reach(n remap.Sector) (runs []remap.Range) {
	row := m.chunk * remap.Sector(len(m.stripes))
	for _, s := range m.stripes {
		runs = append(runs, remap.Range{Dev: s.dev, Start: s.start, Len: (n + row - 1) / row * m.chunk})
	}
	return runs
}
