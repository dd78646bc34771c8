package dmtable

import "github.com/dmcopy/dmcopy/remap"

// linear is one run of another device (drivers/md/dm-linear.c):
//
//	<dev> <start>
type linear struct {
	dev   remap.Dev
	start remap.Sector
}

func parseLinear(_ *Target, a *args) mapping {
	return &linear{dev: a.dev(), start: a.sector()}
}

func (m *linear) place(_ remap.Op, off, n remap.Sector) remap.Place {
	return data("dm:linear", m.dev, m.start+off, n)
}
