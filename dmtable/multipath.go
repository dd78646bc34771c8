package dmtable

import (
	"fmt"
	"slices"

	"github.com/dmcopy/dmcopy/remap"
)

// multipath is one disk that is reached by several paths, each a device of its
// own (drivers/md/dm-mpath.c):
//
//	<count> <features>… <count> [<hardware handler>…] <groups> <next group>
//	{<selector> <count> <arguments>… <paths> <arguments of a path> {<dev> <arguments>…}…}…
//
// It is mapped to the path that the kernel would use next.
type multipath struct {
	groups [][]remap.Dev
	state  pathState
}

// pathFeatures are the features of a multipath line, with how many words
// follow each of them (dm-mpath.c, multipath_status).
var pathFeatures = map[string]int{
	"queue_if_no_path": 0, "retain_attached_hw_handler": 0, "pg_init_retries": 1, "pg_init_delay_msecs": 1, "queue_mode": 1,
}

func parseMultipath(t *Target, a *args) mapping {
	a.blankAtEnd()
	m := &multipath{}
	a.options(pathFeatures)
	a.counted() // hardware handler
	groups := a.number()
	if next := a.number(); next > groups {
		a.reject()
	}
	for ; groups > 0 && !a.bad; groups-- {
		m.groups = append(m.groups, pathGroup(a))
	}
	if t.Start != 0 {
		return a.opaque(t, "begin")
	}
	var ok bool
	if m.state, ok = parsePathStatus(t.Status); !ok || !m.isOf(m.state) {
		return a.opaque(t, "status")
	}
	if m.state.chosen.IsZero() {
		return &noted{a.opaque(t, "no-path"), m.notes()}
	}
	return m
}

// pathGroup reads the devices of a group of paths.
func pathGroup(a *args) (devs []remap.Dev) {
	a.word() // path selector
	a.counted()
	paths, arguments := a.number(), a.number()
	for ; paths > 0 && !a.bad; paths-- {
		devs = append(devs, a.dev())
		a.words(arguments)
	}
	return devs
}

// isOf tells whether the status is that of the same paths.
func (m *multipath) isOf(s pathState) bool {
	return slices.EqualFunc(m.groups, s.groups, slices.Equal)
}

func (m *multipath) place(_ remap.Op, off, n remap.Sector) remap.Place {
	return data("dm:multipath", m.state.chosen, off, n)
}

func (m *multipath) notes() []string {
	notes := []string{fmt.Sprintf("path %s of the multipath device is used", m.state.chosen)}
	if m.state.chosen.IsZero() {
		notes[0] = "no path of the multipath device works"
	}
	for _, dev := range m.state.failed {
		notes = append(notes, fmt.Sprintf("path %s of the multipath device has failed", dev))
	}
	return notes
}

// pathState is what the status line of a multipath device says (dm-mpath.c,
// multipath_status):
//
//	2 <queueing> <initializations> 0 <groups> <next group>
//	{<A|E|D> <count> <arguments>… <paths> <arguments of a path> {<dev> <A|F> <failures> <arguments>…}…}…
type pathState struct {
	groups [][]remap.Dev
	// chosen is a path that works, in the group in use, or else in the first
	// one that may be used; zero if there is none.
	chosen remap.Dev
	// inUse tells that chosen is in the group in use.
	inUse  bool
	failed []remap.Dev
}

func parsePathStatus(line string) (s pathState, ok bool) {
	var a args
	a.reset(line)
	a.blankAtEnd()
	a.oneOf("2")
	a.oneOf("0", "1") // queueing
	a.number()
	a.oneOf("0")
	groups := a.number()
	if next := a.number(); next > groups {
		a.reject()
	}
	current := 0
	for ; groups > 0 && !a.bad; groups-- {
		mark := a.oneOf("A", "E", "D") // in use, enabled, disabled
		if mark == "A" {
			current++
		}
		s.readGroup(mark, &a)
	}
	return s, a.done() && current <= 1
}

// readGroup reads the paths of a group.
func (s *pathState) readGroup(mark string, a *args) {
	a.counted()
	paths, arguments := a.number(), a.number()
	var devs []remap.Dev
	var working remap.Dev
	for ; paths > 0 && !a.bad; paths-- {
		dev := a.dev()
		devs = append(devs, dev)
		if a.oneOf("A", "F") == "F" {
			s.failed = append(s.failed, dev)
		} else if working.IsZero() {
			working = dev
		}
		a.number()
		a.words(arguments)
	}
	s.groups = append(s.groups, devs)
	if mark == "D" || working.IsZero() || s.inUse || mark == "E" && !s.chosen.IsZero() {
		return
	}
	s.chosen, s.inUse = working, mark == "A"
}

// condensePath: which path is used, and nothing of the others.
func condensePath(line string) string {
	s, ok := parsePathStatus(line)
	if !ok {
		return line
	}
	return "path " + s.chosen.String()
}
