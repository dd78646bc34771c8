package dmtable

import (
	"fmt"

	"github.com/dmcopy/dmcopy/remap"
)

// mirrorFeatures are the optional words of a mirror's line (dm-raid1.c,
// mirror_status).
var mirrorFeatures = map[string]bool{"handle_errors": true, "keep_log": true}

// mirror keeps copies on several legs (drivers/md/dm-raid1.c), and a log of
// the regions where they may differ (dm-log.c):
//
//	<log> <count> <log argument>… <legs> {<dev> <start>}… [<count> <features>…]
//
// A region that is not in sync is read from the default leg only. That is leg 0
// until its first error, which its status shows.
type mirror struct {
	legs  []linear
	state mirrorState
}

func parseMirror(t *Target, a *args) mapping {
	known := mirrorLog(a)
	m := &mirror{}
	for n := a.number(); n > 0 && !a.bad; n-- {
		m.legs = append(m.legs, linear{a.dev(), a.sector()})
	}
	a.flags(mirrorFeatures)
	if len(m.legs) == 0 {
		a.reject()
	}
	if !known {
		return a.opaque(t, "log")
	}
	state, ok := parseMirrorStatus(t.Status)
	if !ok || !m.isOf(state) {
		return a.opaque(t, "status")
	}
	m.state = state
	for i := range m.legs {
		if state.readable(i) {
			return m
		}
	}
	return &noted{a.opaque(t, "no-leg"), m.notes()}
}

// mirrorLog reads what kind of log the mirror has, and tells whether it is one
// of the kernel's own; others are kept by daemons, for clusters.
func mirrorLog(a *args) (known bool) {
	log, count := a.word(), a.number()
	switch log {
	case "core":
		count--
	case "disk":
		a.dev()
		count -= 2
	default:
		a.words(count)
		return false
	}
	a.sector() // region size
	if count == 1 {
		a.oneOf("sync", "nosync")
	} else if count != 0 {
		a.reject()
	}
	return true
}

// isOf tells whether the status is that of the same legs.
func (m *mirror) isOf(s mirrorState) bool {
	if len(s.devs) != len(m.legs) {
		return false
	}
	for i, dev := range s.devs {
		if m.legs[i].dev != dev {
			return false
		}
	}
	return true
}

func (m *mirror) place(_ remap.Op, off, n remap.Sector) remap.Place {
	legs := make([]remap.Leg, len(m.legs))
	for i, leg := range m.legs {
		legs[i] = remap.Leg{Dev: leg.dev, Start: leg.start + off, Readable: m.state.readable(i)}
	}
	return remap.Place{Len: n, Kind: remap.Replica, Legs: legs, Layer: "dm:mirror"}
}

func (m *mirror) notes() (notes []string) {
	for i, leg := range m.legs {
		if m.state.health[i] != legAlive {
			notes = append(notes, fmt.Sprintf("leg %s of the mirror has failed (%c)", leg.dev, m.state.health[i]))
		}
	}
	if !m.state.synced {
		notes = append(notes, "the legs of the mirror are not in sync yet")
	}
	return notes
}

// mirrorState is what the status line of a mirror says (dm-raid1.c,
// mirror_status; dm-log.c, core_status and disk_status):
//
//	<legs> {<dev>}… <regions in sync>/<regions> 1 <health> <count> core|disk [<log dev> <health>]
type mirrorState struct {
	devs []remap.Dev
	// health has a letter for each leg: A without errors, otherwise the kind
	// of the worst one (dm-raid1.c, device_status_char).
	health string
	// synced tells that all regions are in sync.
	synced bool
}

const legAlive = 'A'

// readable tells whether leg i has what is read from the mirror.
func (s *mirrorState) readable(i int) bool {
	return s.health[i] == legAlive && (i == 0 || s.synced)
}

func parseMirrorStatus(line string) (s mirrorState, ok bool) {
	var a args
	a.reset(line)
	for n := a.number(); n > 0 && !a.bad; n-- {
		a.dev()
	}
	s.devs = a.devs
	synced, regions := a.ratio()
	s.synced = synced == regions
	a.oneOf("1")
	s.health = a.word()
	for i := range len(s.health) {
		switch s.health[i] {
		case legAlive, 'F', 'D', 'S', 'R', 'U':
		default:
			a.reject()
		}
	}
	if a.number() == 3 {
		a.oneOf("disk")
		a.dev()
		a.oneOf("A", "D", "F")
	} else {
		a.oneOf("core")
	}
	return s, a.done() && synced <= regions && regions > 0 && len(s.health) == len(s.devs)
}

// condenseMirror: how far the legs are in sync does not matter before the end.
func condenseMirror(line string) string {
	s, ok := parseMirrorStatus(line)
	if !ok {
		return line
	}
	return fmt.Sprintf("%v %s synced %v", s.devs, s.health, s.synced)
}
