package dmtable

import "github.com/dmcopy/dmcopy/remap"

// delay is linear, later, with legs of its own for writes and for flushes
// (drivers/md/dm-delay.c):
//
//	<dev> <start> <ms> [<write dev> <start> <ms> [<flush dev> <start> <ms>]]
type delay struct {
	read, write linear
}

func parseDelay(_ *Target, a *args) mapping {
	m := &delay{read: delayLeg(a)}
	m.write = m.read
	if a.more() {
		m.write = delayLeg(a)
	}
	if a.more() {
		delayLeg(a)
	}
	return m
}

func delayLeg(a *args) linear {
	leg := linear{a.dev(), a.sector()}
	a.number()
	return leg
}

func (m *delay) place(op remap.Op, off, n remap.Sector) remap.Place {
	leg := m.read
	if op == remap.Write {
		leg = m.write
	}
	return data("dm:delay", leg.dev, leg.start+off, n)
}
