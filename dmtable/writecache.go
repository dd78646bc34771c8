package dmtable

import (
	"fmt"

	"github.com/dmcopy/dmcopy/remap"
)

// Options of a writecache line, with how many words follow each of them
// (dm-writecache.c, writecache_status).
const writecacheCleaner = "cleaner"

var writecacheOptions = map[string]int{
	"start_sector": 1, "high_watermark": 1, "low_watermark": 1, "writeback_jobs": 1, "autocommit_blocks": 1,
	"autocommit_time": 1, "max_age": 1, writecacheCleaner: 0, "fua": 0, "nofua": 0, "metadata_only": 0, "pause_writeback": 1,
}

// parseWritecache maps a device whose writes go to a faster one first
// (drivers/md/dm-writecache.c):
//
//	<p|s> <origin dev> <cache dev> <block bytes> <count> [<options>…]
//
// While nothing is cached, all data is on the origin. It stays so if the table
// says that the cache is being cleaned: then what is not cached is written to the
// origin at once, and only another table ends that (writecache_map_write).
func parseWritecache(t *Target, a *args) mapping {
	a.oneOf("p", "s")
	origin := linear{a.dev(), 0}
	a.dev()
	a.number()
	options := a.options(writecacheOptions)
	for _, values := range options {
		a.numbers(values)
	}
	s, ok := parseWritecacheStatus(t.Status)
	switch {
	case !ok:
		return a.opaque(t, "status")
	case s.failed:
		return a.opaque(t, "failed")
	case !s.clean():
		return &noted{a.opaque(t, "dirty"), []string{fmt.Sprintf("%d blocks of the writecache are not on its origin yet", s.blocks-s.free)}}
	}
	if _, cleaning := options[writecacheCleaner]; cleaning {
		return &cleaned{origin}
	}
	return newSource(t, origin.dev, 0)
}

// cleaned is a writecache that has nothing and takes nothing in.
type cleaned struct{ origin linear }

func (m *cleaned) place(_ remap.Op, off, n remap.Sector) remap.Place {
	return data("dm:writecache", m.origin.dev, m.origin.start+off, n)
}

// writecacheState is what the status line says, from Linux 5.15 on
// (dm-writecache.c, writecache_status):
//
//	<error> <blocks> <free> <being written back> <reads> <read hits> <writes> <hits of uncommitted> <hits of committed> <around> <allocated> <blocked> <flushes> <discards>
type writecacheState struct {
	failed                     bool
	blocks, free, underway     uint64
	uncommitted, committed, in uint64 // writes that went into the cache
}

func parseWritecacheStatus(line string) (s writecacheState, ok bool) {
	var a args
	a.reset(line)
	s.failed = a.word() != "0"
	s.blocks, s.free, s.underway = a.big(), a.big(), a.big()
	a.big()
	a.big()
	a.big()
	s.uncommitted, s.committed = a.big(), a.big()
	a.big()
	s.in = a.big()
	a.big()
	a.big()
	a.big()
	return s, a.done() && s.free <= s.blocks && s.blocks > 0
}

// clean tells whether all data is on the origin.
func (s *writecacheState) clean() bool { return !s.failed && s.free == s.blocks && s.underway == 0 }

// condenseWritecache: of a clean cache it matters whether it has taken something
// in meanwhile, and has written it back.
func condenseWritecache(line string) string {
	s, ok := parseWritecacheStatus(line)
	switch {
	case !ok:
		return line
	case !s.clean():
		return fmt.Sprintf("dirty, failed %v", s.failed)
	}
	return fmt.Sprintf("clean %d %d %d", s.uncommitted, s.committed, s.in)
}
