package dmtable

import "github.com/dmcopy/dmcopy/remap"

// unstriped is one stripe of a device that is striped itself
// (drivers/md/dm-unstripe.c):
//
//	<stripes> <chunk> <stripe> <dev> <start>
//
// Kernels before February 2026 count the sectors of a line that does not begin at
// sector 0 of its device from there ("dm-unstripe: fix mapping bug when there are
// multiple targets in a table": Debian 6.12.85, 6.1.170), so that only a line that
// does is known to be mapped as it says.
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
	if t.Start != 0 {
		return a.opaque(t, "begin")
	}
	m.skip = (stripes - 1) * chunk
	m.start += stripe * chunk
	return m
}

func (m *unstriped) place(_ remap.Op, off, n remap.Sector) remap.Place {
	chunk, inside := off/m.chunk, off%m.chunk
	return data("dm:unstriped", m.dev, m.start+off+chunk*m.skip, min(n, m.chunk-inside))
}
