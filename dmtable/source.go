package dmtable

import "github.com/dmcopy/dmcopy/remap"

// source is a run of another device that may be read below the target. It may
// not be written there: the target keeps books of what is written.
type source struct {
	linear
	layer string
	// sealed is why nothing may be written.
	sealed remap.Reason
}

func newSource(t *Target, dev remap.Dev, start remap.Sector) *source {
	return &source{linear{dev, start}, "dm:" + t.Type, remap.Reason("layer:" + t.Type + "-write")}
}

func (m *source) place(op remap.Op, off, n remap.Sector) remap.Place {
	if op == remap.Write {
		return noPlace(m.layer, m.sealed, n)
	}
	return data(m.layer, m.dev, m.start+off, n)
}
