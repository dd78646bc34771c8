package dmtable

import (
	"fmt"

	"github.com/dmcopy/dmcopy/remap"
)

// raidState is what the status line of an array says (dm-raid.c, raid_status):
//
//	<type> <members> <health> <in sync>/<sectors of a member> <action> <mismatches> <data offset> <journal>
type raidState struct {
	typ string
	// health has a letter for each member: A in sync, a not in sync, D
	// failed, - missing.
	health string
	// synced tells that nothing is left to be done.
	synced bool
	// quiet: nothing is being checked or changed. In a check, members count as
	// in sync whether they are or not (rs_get_progress).
	quiet bool
	// reshaping: between two geometries. How many sectors the array has, and where, is
	// neither the line's word nor that of the device.
	reshaping bool
	// offset is where the data begins on the members. It is that of the first
	// one, if it is there.
	offset remap.Sector
	// journal is A for one that is written through, a for one that is written
	// back, D for one that has failed, - for none.
	journal string
}

// Letters of health.
const (
	raidAlive   = 'A'
	raidSyncing = 'a'
)

func parseRaidStatus(line string) (s raidState, ok bool) {
	var a args
	a.reset(line)
	s.typ = a.word()
	members := a.number()
	s.health = a.word()
	for i := range len(s.health) {
		switch s.health[i] {
		case raidAlive, raidSyncing, 'D', '-':
		default:
			a.reject()
		}
	}
	done, whole := a.ratio()
	s.synced = done == whole
	action := a.oneOf("idle", "frozen", "check", "repair", "resync", "recover", "reshape")
	s.quiet, s.reshaping = action == "idle" || action == "frozen", action == "reshape"
	a.big()
	s.offset = a.sector()
	s.journal = a.oneOf("A", "a", "D", "-")
	return s, a.done() && int64(len(s.health)) == members && done <= whole
}

// stable tells whether members that are alive are in sync, and stay so.
func (s *raidState) stable() bool {
	for i := range len(s.health) {
		if s.health[i] == raidSyncing {
			return false
		}
	}
	return s.synced && s.quiet
}

// condenseRaid: how far members are in sync does not matter before the end, nor
// do mismatches, which are counted.
func condenseRaid(line string) string {
	s, ok := parseRaidStatus(line)
	if !ok {
		return line
	}
	return fmt.Sprintf("%s %s stable %v reshaping %v at %d journal %s", s.typ, s.health, s.stable(), s.reshaping, s.offset, s.journal)
}
