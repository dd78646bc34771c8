package dmtable

import (
	"fmt"

	"github.com/dmcopy/dmcopy/remap"
)

// cloneFeatures and cloneCore are the optional words of a clone's line, the
// latter with how many words follow each of them (dm-clone-target.c,
// parse_feature_args and parse_core_args).
var (
	cloneFeatures = map[string]bool{"no_hydration": true, "no_discard_passdown": true}
	cloneCore     = map[string]int{"hydration_threshold": 1, "hydration_batch_size": 1}
)

// clone copies a device to another while it is in use
// (drivers/md/dm-clone-target.c):
//
//	<metadata dev> <destination dev> <source dev> <region> [<count> [<features>…] [<count> [<core argument>…]]]
//
// Once all regions are hydrated, everything is on the destination, for as long
// as the table lives. Which ones are before that, the kernel does not tell.
type clone struct{ dest remap.Dev }

func parseClone(t *Target, a *args) mapping {
	a.dev()
	m := &clone{a.dev()}
	a.dev()
	a.sector()
	a.flags(cloneFeatures)
	for _, values := range a.options(cloneCore) {
		a.numbers(values)
	}
	s, ok := parseCloneStatus(t.Status)
	switch {
	case t.Start != 0:
		return a.opaque(t, "begin")
	case !ok:
		return a.opaque(t, "status")
	case s.mode != "rw":
		return a.opaque(t, "read-only")
	case !s.whole():
		return &noted{a.opaque(t, "hydrating"), []string{fmt.Sprintf("the clone has copied %d of %d regions", s.hydrated, s.regions)}}
	}
	return m
}

func (m *clone) place(_ remap.Op, off, n remap.Sector) remap.Place {
	return data("dm:clone", m.dest, off, n)
}

// cloneState is what the status line of a working clone says
// (dm-clone-target.c, clone_status):
//
//	<metadata block> <used>/<total> <region> <hydrated>/<regions> <hydrating> <count> <features>… <count> <core argument>… <rw|ro>
type cloneState struct {
	hydrated, regions, hydrating uint64
	mode                         string
}

func parseCloneStatus(line string) (s cloneState, ok bool) {
	var a args
	a.reset(line)
	a.blankAtEnd()
	a.number()
	a.ratio()
	a.sector()
	s.hydrated, s.regions = a.ratio()
	s.hydrating = a.big()
	a.flags(cloneFeatures)
	a.options(cloneCore)
	s.mode = a.oneOf("rw", "ro")
	return s, a.done() && s.hydrated <= s.regions && s.regions > 0
}

// whole tells whether the destination has everything.
func (s *cloneState) whole() bool { return s.hydrated == s.regions && s.hydrating == 0 }

// condenseClone: how much is hydrated does not matter before the end.
func condenseClone(line string) string {
	s, ok := parseCloneStatus(line)
	if !ok {
		return line
	}
	return fmt.Sprintf("whole %v %s", s.whole(), s.mode)
}
