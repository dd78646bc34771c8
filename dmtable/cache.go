package dmtable

import "fmt"

// Features of a cache line (dm-cache-target.c, parse_features).
const (
	cacheWriteback    = "writeback"
	cacheWritethrough = "writethrough"
	cachePassthrough  = "passthrough"
)

var cacheFeatures = map[string]bool{
	"metadata2": true, cacheWriteback: true, cacheWritethrough: true, cachePassthrough: true, "no_discard_passdown": true,
}

// parseCache maps a device parts of which have copies on a faster one
// (drivers/md/dm-cache-target.c):
//
//	<metadata dev> <cache dev> <origin dev> <block> <count> [<features>…] <policy> <count> [<policy argument>…]
//
// While no copy is newer than what it is a copy of, the origin has all data. It
// is never written below the cache, which would go on reading its copies.
func parseCache(t *Target, a *args) mapping {
	a.dev()
	a.dev()
	m := newSource(t, a.dev(), 0)
	a.sector()
	a.flags(cacheFeatures)
	a.word()
	a.counted()
	s, ok := parseCacheStatus(t.Status)
	switch {
	case t.Start != 0:
		return a.opaque(t, "begin")
	case !ok:
		return a.opaque(t, "status")
	case s.broken:
		return a.opaque(t, "needs-check")
	case s.dirty != 0:
		return &noted{a.opaque(t, "dirty"), []string{fmt.Sprintf("%d blocks of the cache are newer than its origin", s.dirty)}}
	}
	return m
}

// cacheState is what the status line of a working cache says
// (dm-cache-target.c, cache_status):
//
//	<metadata block> <used>/<total> <block> <used>/<total> <read hits> <read misses> <write hits> <write misses> <demotions> <promotions> <dirty>
//	<count> <features>… <count> <core argument>… <policy> <count> <policy argument>… <rw|ro> <needs_check|->
type cacheState struct {
	// traffic counts what can have put something into the cache.
	traffic [4]uint64
	// dirty counts the blocks whose copies are newer than the origin.
	dirty uint64
	// mode is "writeback", "writethrough" or "passthrough".
	mode string
	// broken: the metadata cannot be written, or has to be checked.
	broken bool
}

func parseCacheStatus(line string) (s cacheState, ok bool) {
	var a args
	a.reset(line)
	a.blankAtEnd()
	a.number()
	a.ratio()
	a.number()
	a.ratio()
	a.big()
	a.big()
	for i := range s.traffic {
		s.traffic[i] = a.big()
	}
	s.dirty = a.big()
	features := a.flags(cacheFeatures)
	for _, mode := range []string{cacheWriteback, cacheWritethrough, cachePassthrough} {
		if features[mode] {
			if s.mode != "" {
				a.reject()
			}
			s.mode = mode
		}
	}
	a.counted()
	a.word()
	a.counted()
	s.broken = a.oneOf("rw", "ro") == "ro"
	s.broken = a.oneOf("-", "needs_check") != "-" || s.broken
	return s, a.done() && s.mode != ""
}

// condenseCache: of a clean cache that takes writes in it matters whether it has
// done so meanwhile, and has written them back.
func condenseCache(line string) string {
	s, ok := parseCacheStatus(line)
	switch {
	case !ok:
		return line
	case s.dirty != 0 || s.broken:
		return fmt.Sprintf("%s dirty %v broken %v", s.mode, s.dirty != 0, s.broken)
	case s.mode == cacheWriteback:
		return fmt.Sprintf("%s clean %d", s.mode, s.traffic)
	}
	return s.mode + " clean"
}
