package mdraid

import (
	"fmt"
	"strings"

	"github.com/dmcopy/dmcopy/remap"
)

// Notes say for people what state the array and its members are in, and what
// follows from it. There are none for an array that is whole and at rest.
func (a *Array) Notes() []string {
	_, reason, why := a.mapped()
	if reason != "" {
		return append([]string{"dmcopy neither reads nor writes below: " + why}, a.memberNotes()...)
	}
	f, _ := a.parse()
	var notes []string
	for i, s := range f.slots {
		if !s.member.present() {
			notes = append(notes, fmt.Sprintf("degraded: slot %d is missing", i))
		}
	}
	notes = append(notes, a.actionNotes(&f)...)
	return append(notes, a.memberNotes()...)
}

// actionNotes say what is going on.
func (a *Array) actionNotes(f *facts) (notes []string) {
	action := a.Attrs["sync_action"]
	switch action {
	case "", "idle":
	case "frozen":
		notes = append(notes, "recovery and resync are frozen")
	default:
		notes = append(notes, action+" is running")
	}
	if f.synced < remap.MaxSectors && mirrors(f.level) {
		notes = append(notes, fmt.Sprintf("the copies may differ from sector %d on: dmcopy does not read there below the array", f.synced))
	}
	if lo, hi, ok := a.suspendedWrites(); ok && hi > lo {
		notes = append(notes, fmt.Sprintf("writes to sectors [%d,%d) are suspended", lo, hi))
	}
	if f.external {
		notes = append(notes, "a process keeps the metadata: dmcopy writes nothing below the array")
	}
	return notes
}

// memberNotes say what is particular about members.
func (a *Array) memberNotes() (notes []string) {
	for i := range a.Members {
		m := &a.Members[i]
		l, bad := m.parse()
		if bad != "" {
			notes = append(notes, fmt.Sprintf("leg %s: %s is not understood", m.Name, bad))
			continue
		}
		if what := m.notes(&l); len(what) > 0 {
			notes = append(notes, "leg "+m.Name+" "+strings.Join(what, "; "))
		}
	}
	return notes
}

// notes say what is particular about a member.
func (m *Member) notes(l *leg) (what []string) {
	say := func(yes bool, text string) {
		if yes {
			what = append(what, text)
		}
	}
	say(l.dev.IsZero(), "is gone")
	say(l.is("faulty") && !l.is("in_sync"), "has failed")
	say(l.is("journal"), "is the journal")
	say(l.slot == noSlot && l.is("spare"), "is a spare")
	say(l.is("replacement"), "is a replacement: dmcopy does not read it")
	say(l.slot != noSlot && l.is("spare"), "is recovering: it is complete below sector "+m.Attrs["recovery_start"]+", and dmcopy does not read it before it is whole")
	say(l.is("write_mostly"), "is write-mostly: it may lag behind, and dmcopy does not read it")
	say(l.is("blocked"), "is blocked until its bad blocks are recorded: dmcopy does not read it")
	say(l.is("want_replacement"), "is marked for replacement")
	say(l.is("write_error"), "has had write errors")
	say(l.muddled && !l.is("blocked"), "has an incomplete list of bad blocks: dmcopy does not read it")
	places := "1 place"
	if len(l.bad) > 1 {
		places = fmt.Sprintf("%d places", len(l.bad))
	}
	say(len(l.bad) > 0, "has bad blocks in "+places+": dmcopy does not read them")
	return what
}
