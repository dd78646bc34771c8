package mdraid

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"github.com/dmcopy/dmcopy/internal/raidmap"
	"github.com/dmcopy/dmcopy/remap"
)

// parser reads values of files. It notes the first one that does not hold what
// the kernel prints there.
type parser struct {
	attrs map[string]string
	bad   string
}

func (p *parser) reject(name string) { p.bad = cmp.Or(p.bad, name) }

// number reads a number that may be negative, with no more than 32 bits.
func (p *parser) number(name string) int64 {
	text := p.attrs[name]
	n, err := strconv.ParseInt(text, 10, 33)
	if err != nil || text[0] == '+' {
		p.reject(name)
	}
	return n
}

// sector reads a position or a length in sectors.
func (p *parser) sector(name string) remap.Sector {
	n, err := remap.ParseSector(p.attrs[name])
	if err != nil {
		p.reject(name)
	}
	return n
}

// kib reads a length in KiB, which is how md prints most of its sizes.
func (p *parser) kib(name string) remap.Sector {
	n := p.sector(name)
	if n > remap.MaxSectors/2 {
		p.reject(name)
		return 0
	}
	return 2 * n
}

// chunk reads a length in bytes that is made of whole sectors.
func (p *parser) chunk(name string) remap.Sector {
	n := p.number(name)
	if n < 0 || n%remap.SectorSize != 0 {
		p.reject(name)
	}
	return remap.Sector(n / remap.SectorSize)
}

// sectorOrNone reads a position that "none" puts behind everything.
func (p *parser) sectorOrNone(name string) remap.Sector {
	if p.attrs[name] == "none" {
		return remap.MaxSectors
	}
	return p.sector(name)
}

// choice reads a list of words of which one is in brackets, or a single word.
func (p *parser) choice(name string) string {
	words := strings.Fields(p.attrs[name])
	if len(words) == 1 {
		return strings.Trim(words[0], "[]")
	}
	chosen := ""
	for _, word := range words {
		inner, ok := strings.CutPrefix(word, "[")
		if !ok {
			continue
		}
		if chosen != "" || !strings.HasSuffix(inner, "]") {
			p.reject(name)
		}
		chosen = strings.TrimSuffix(inner, "]")
	}
	return chosen
}

// stateClass is what a state of an array means for those who read it.
type stateClass uint8

const (
	unknownState stateClass = iota
	running
	readOnly
	stopped
)

// states are the words of array_state (drivers/md/md.c, array_states). Broken
// and suspended are reasons of their own.
var states = map[string]stateClass{
	"clean": running, "active": running, "active-idle": running, "write-pending": running, "read-auto": running,
	"readonly": readOnly, "clear": stopped, "inactive": stopped,
}

// actionClass is what a running action means for those who read below the array.
type actionClass uint8

const (
	unknownAction actionClass = iota
	// harmless: what is in sync stays so. A recovery writes members that are
	// not; a repair makes copies equal that ought to be.
	harmless
	resyncing
)

// actions are the words of sync_action, but for reshape.
var actions = map[string]actionClass{
	"": harmless, "idle": harmless, "frozen": harmless, "check": harmless, "recover": harmless, "repair": harmless,
	"resync": resyncing,
}

// facts are what the files of an array say, understood.
type facts struct {
	level     string
	layout    int64
	chunk     remap.Sector
	disks     int
	component remap.Sector
	// synced is the sector of the array from which on copies may differ.
	synced remap.Sector
	state  stateClass
	// resized: the capacity was set to something else than what the geometry
	// offers.
	resized bool
	// external: who manages the metadata is a process, not the kernel.
	external bool
	// slots are the members that hold data, by slot.
	slots []slot
}

// slot is what is in a slot: a member, or none, and the device that it is being
// replaced with.
type slot struct {
	member, replacement *leg
}

// leg is what the files of a member say, understood.
type leg struct {
	dev          remap.Dev
	words        []string
	slot         int // noSlot for spares and journals
	offset, size remap.Sector
	bad          []raidmap.Bad
	// muddled: the list of bad blocks is cut, or not settled.
	muddled bool
}

const noSlot = -1

// is tells whether the state of a member has a word.
func (l *leg) is(word string) bool { return slices.Contains(l.words, word) }

// parse understands the files of an array that runs and is at rest. If it does
// not, bad is the file that it does not understand.
func (a *Array) parse() (f facts, bad string) {
	p := parser{attrs: a.Attrs}
	f = facts{
		level:     a.Level(),
		layout:    p.number("layout"),
		chunk:     p.chunk("chunk_size"),
		disks:     int(p.number("raid_disks")),
		component: p.kib("component_size"),
		synced:    p.sectorOrNone("resync_start"),
		state:     states[a.Attrs["array_state"]],
		resized:   a.Attrs["array_size"] != "default",
		external:  strings.HasPrefix(a.Attrs["metadata_version"], "external:"),
	}
	if f.resized {
		p.kib("array_size")
	}
	if f.disks < 1 || f.disks > raidmap.MaxDisks {
		p.reject("raid_disks")
	}
	f.parseAction(&p)
	if p.bad != "" {
		return f, p.bad
	}
	f.slots = make([]slot, f.disks)
	for i := range a.Members {
		m := &a.Members[i]
		l, bad := m.parse()
		if bad == "" && !f.place(&l) {
			bad = "slot"
		}
		if bad != "" {
			return f, "dev-" + m.Name + "/" + bad
		}
	}
	return f, ""
}

// parseAction reads what is going on. A resync that does not say where it began
// may be anywhere.
func (f *facts) parseAction(p *parser) {
	switch actions[p.attrs["sync_action"]] {
	case unknownAction:
		p.reject("sync_action")
	case resyncing:
		if f.synced == remap.MaxSectors {
			f.synced = 0
		}
	}
}

// place puts a member into its slot. It reports false for slots that are not
// there or taken.
func (f *facts) place(l *leg) bool {
	if l.slot == noSlot {
		return true
	}
	if l.slot >= len(f.slots) {
		return false
	}
	at := &f.slots[l.slot].member
	if l.is("replacement") {
		at = &f.slots[l.slot].replacement
	}
	if *at != nil {
		return false
	}
	*at = l
	return true
}
