package dmtable

import "github.com/dmcopy/dmcopy/remap"

// unstriped is one stripe of a device that is striped itself
// (drivers/md/dm-unstripe.c):
//
//	<stripes> <chunk> <stripe> <dev> <start>
type unstriped struct {
	chunk remap.Sector
	// skip is the length of the other stripes' chunks in one row.
	skip remap.Sector
	linear
}

func parseUnstriped(t *Target, a *args) mapping {
	stripes := remap.Sector(a.number())
	chunk := a.sector()
	stripe := remap.Sector(a.number())
	m := &unstriped{chunk: chunk, linear: linear{a.dev(), a.sector()}}
	// Every row has to end below MaxSectors, or the products would overflow.
	if chunk < 1 || stripe >= stripes || stripes > remap.MaxSectors/chunk ||
		t.Len/chunk >= remap.MaxSectors/(chunk*stripes) {
		a.reject()
		return m
	}
	m.skip = (stripes - 1) * chunk
	m.start += stripe * chunk
	return m
}

func (m *unstriped) place(_ remap.Op, off, n remap.Sector) remap.Place {
	chunk, inside := off/m.chunk, off%m.chunk
	return data("dm:unstriped", m.dev, m.start+off+chunk*m.skip, min(n, m.chunk-inside))
}
