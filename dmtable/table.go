package dmtable

import (
	"fmt"
	"strings"

	"github.com/dmcopy/dmcopy/dmtable/exstore"
	"github.com/dmcopy/dmcopy/remap"
)

// Info is what the kernel tells of a mapped device besides its table.
type Info struct {
	Dev remap.Dev `json:"dev"`
	// Name and UUID are as the kernel stores them: libdm writes unusual
	// characters as \xNN.
	Name string `json:"name"`
	UUID string `json:"uuid,omitempty"`
	// OpenCount is how often the device is open, our own descriptors included.
	OpenCount int  `json:"open_count"`
	ReadOnly  bool `json:"read_only,omitempty"`
	// Active tells that the device has a live table.
	Active    bool `json:"active"`
	Suspended bool `json:"suspended,omitempty"`
	// InternalSuspend: suspended by another target, such as a thin pool.
	InternalSuspend bool `json:"internal_suspend,omitempty"`
	// Staged: another table has been loaded and waits for a resume.
	Staged bool `json:"staged,omitempty"`
}

// Transition says why the layout of the device is about to change or has just
// changed; it is empty for a device at rest.
func (i *Info) Transition() string {
	switch {
	case i.Suspended:
		return "suspended"
	case i.InternalSuspend:
		return "suspended by the kernel"
	case i.Staged:
		return "new table staged"
	case !i.Active:
		return "no table"
	}
	return ""
}

// Listed is an entry of the list of mapped devices.
type Listed struct {
	Dev  remap.Dev
	Name string
	UUID string
}

// Table is the live table of a mapped device. It holds no secrets.
type Table struct {
	Info
	Targets []Target `json:"targets"`
	// Deps are the devices that the table holds open, in the kernel's order.
	Deps []remap.Dev `json:"deps,omitempty"`
	// Print is as in [State]; a stored table has none.
	Print remap.Fingerprint `json:"-"`
}

// Size is the end of the last line, in sectors.
func (t *Table) Size() remap.Sector {
	if len(t.Targets) == 0 {
		return 0
	}
	last := &t.Targets[len(t.Targets)-1]
	return last.Start + last.Len
}

// Target is one line of a table. Start and Len are in sectors.
type Target struct {
	Start remap.Sector `json:"start"`
	Len   remap.Sector `json:"length"`
	Type  string       `json:"type"`
	// Params is the rest of the line as the kernel prints it, empty for every
	// type that is not known to print no secrets.
	Params string `json:"params,omitempty"`
	// Crypt is what a line of crypt or inlinecrypt says, without its key.
	Crypt *Crypt `json:"crypt,omitempty"`
	// Override is set for a line of crypt whose encryption can be overridden:
	// [Table.Bypassed].
	Override bool `json:"override,omitempty"`
	// Integrity is what an integrity line says, without its keys.
	Integrity *Integrity `json:"integrity,omitempty"`
	// Status is the status line of a type whose map depends on it.
	Status string `json:"status,omitempty"`
	// Exceptions are what a snapshot has in its copy-on-write device, if they
	// were read: [Target.ExceptionStore].
	Exceptions *exstore.Store `json:"exceptions,omitempty"`
	// RaidSuper is the superblock of an array's member, if it was read:
	// [Target.RaidMember].
	RaidSuper *RaidSuper `json:"raid_super,omitempty"`
	// Thin is where the blocks of a thin volume are, if that was read:
	// [Target.ThinVolume].
	Thin *Thin `json:"thin,omitempty"`
}

// harmless are the target types without a layer of their own yet whose lines
// hold no secrets: they are kept for people to see what is in the way.
var harmless = map[string]bool{"switch": true}

// keepsParams tells whether the lines of a type may be stored.
func keepsParams(typ string) bool {
	known, ok := targets[typ]
	return harmless[typ] || ok && !known.secret
}

// parse fills the table from a TABLE_STATUS reply. It keeps copies of what is
// harmless and nothing else.
func (t *Table) parse(r reply) error {
	info, err := r.info()
	if err != nil {
		return err
	}
	count, size := 0, 0
	for l, err := range r.lines() {
		if err != nil {
			return err
		}
		count++
		size += l.kept()
	}
	t.Info, t.Targets = info, make([]Target, 0, count)
	var k keeper
	k.texts.Grow(size)
	for l := range r.lines() {
		target, err := k.keep(l)
		if err != nil {
			return fmt.Errorf("target %d: %w", len(t.Targets), err)
		}
		t.Targets = append(t.Targets, target)
	}
	return nil
}

// kept is the length of the parameters if they are kept.
func (l line) kept() int {
	if keepsParams(string(l.typ)) {
		return len(l.params)
	}
	return 0
}

// keeper copies lines out of a reply. A table may have a million lines, so
// all parameters share one string, and so do equal neighbouring types.
type keeper struct {
	// texts has room for all parameters, and therefore does not move.
	texts strings.Builder
	typ   string
}

func (k *keeper) keep(l line) (Target, error) {
	if l.start > uint64(remap.MaxSectors) || l.length > uint64(remap.MaxSectors) {
		return Target{}, fmt.Errorf("%w: sectors [%d,+%d)", ErrReply, l.start, l.length)
	}
	if string(l.typ) != k.typ {
		k.typ = string(l.typ)
	}
	t := Target{Start: remap.Sector(l.start), Len: remap.Sector(l.length), Type: k.typ}
	if l.kept() > 0 {
		from := k.texts.Len()
		k.texts.Write(l.params)
		t.Params = k.texts.String()[from:]
	}
	if parse := cryptLines[k.typ]; parse != nil {
		t.Crypt = parse(l.params)
		t.Override = overrides(l.params)
	}
	if k.typ == typeIntegrity {
		t.Integrity = parseIntegrityLine(l.params)
	}
	return t, nil
}

// Check tells whether a stored table is one that a kernel can have printed and
// that this package can have stored.
func (t *Table) Check() error {
	for i := range t.Targets {
		if err := t.Targets[i].check(); err != nil {
			return &Error{"check", t.Dev, fmt.Errorf("target %d: %w", i, err)}
		}
	}
	return nil
}

func (t *Target) check() error {
	switch {
	case t.Start < 0 || t.Len < 1 || t.Start > remap.MaxSectors || t.Len > remap.MaxSectors-t.Start:
		return fmt.Errorf("%w: sectors [%d,+%d)", ErrBadTable, t.Start, t.Len)
	case !validType(t.Type):
		return fmt.Errorf("%w: target type %q", ErrBadTable, t.Type)
	case t.Params != "" && !keepsParams(t.Type):
		return fmt.Errorf("%w: parameters of type %s, which may hold secrets", ErrBadTable, t.Type)
	case t.Exceptions != nil && t.Type != typeSnapshot:
		return fmt.Errorf("%w: type %s with exceptions of a snapshot", ErrBadTable, t.Type)
	case t.RaidSuper != nil && t.Type != typeRaid:
		return fmt.Errorf("%w: type %s with a superblock of an array", ErrBadTable, t.Type)
	case t.Thin != nil && (t.Type != typeThin || !t.Thin.valid()):
		return fmt.Errorf("%w: map of a thin volume, type %s", ErrBadTable, t.Type)
	case t.Status != "" && targets[t.Type].condense == nil:
		return fmt.Errorf("%w: status of type %s, whose map does not depend on it", ErrBadTable, t.Type)
	case t.Override && cryptLines[t.Type] == nil, t.Crypt != nil && t.Crypt.hasOption(optionOverride) != t.Override:
		return fmt.Errorf("%w: encryption that can be overridden, type %s", ErrBadTable, t.Type)
	case t.Crypt != nil && cryptLines[t.Type] == nil:
		return fmt.Errorf("%w: type %s with parameters of crypt", ErrBadTable, t.Type)
	case t.Integrity != nil && (t.Type != typeIntegrity || !t.Integrity.valid()):
		return fmt.Errorf("%w: parameters of integrity, type %s", ErrBadTable, t.Type)
	case t.Crypt != nil && !t.Crypt.valid(t.Type):
		return fmt.Errorf("%w: parameters of crypt", ErrBadTable)
	}
	return nil
}
