package target

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/dmcopy/dmcopy/copydomain/blocks"
	"github.com/dmcopy/dmcopy/copydomain/scsi"
)

// Disk describes a logical unit.
type Disk struct {
	Blocks    uint64
	BlockSize uint32         // bytes, 512 or 4096
	Backing   blocks.Backing // nil: memory
}

// Config is what a target is made of.
type Config struct {
	Disks []Disk
	// XCopy bounds EXTENDED COPY; nil: the target does not know the command.
	XCopy *CopyLimits
	// Tokens bounds token copies; nil: the target does not know them.
	Tokens *TokenLimits
	// Number tells targets apart: it is part of all names. 0 to 255.
	Number uint8
	// Now is the clock by which tokens expire; nil: the real one.
	Now func() time.Time
}

// TokenLimits bounds token copies. Zero is what a target reports that has no limit, or tells none.
type TokenLimits struct {
	Ranges         uint16 // in a command
	TransferBlocks uint64 // of one token, and of one WRITE USING TOKEN
	OptimalBlocks  uint64 // of one command, at best
	DefaultTimeout uint32 // seconds, of a token that nobody uses
	MaxTimeout     uint32 // seconds
}

// DefaultTokenLimits are those of a target of medium size.
func DefaultTokenLimits() *TokenLimits {
	return &TokenLimits{Ranges: 64, TransferBlocks: 64 << 10, OptimalBlocks: 16 << 10, DefaultTimeout: 60, MaxTimeout: 600}
}

// Target is a SCSI target with its logical units. It is safe for concurrent use.
type Target struct {
	config Config

	mu         sync.Mutex
	units      []*unit
	tokens     map[[tokenSize]byte]*token
	operations map[operationKey]*operation
	results    map[operationKey]*copyResult
	attentions map[nexusUnit]scsi.SenseCode
	known      map[string]bool // initiators
	faults     []*armed
	enforced   *TokenLimits // nil: what is reported
	log        []Entry
	created    uint64 // tokens so far
}

// unit is a logical unit.
type unit struct {
	number   int
	identity scsi.Identity // under Target.mu
	medium   blocks.Backing
	block    uint32       // bytes
	blocks   uint64       //
	io       sync.RWMutex // around each access to medium
}

// nexusUnit is a unit as an initiator sees it.
type nexusUnit struct {
	nexus string
	unit  int
}

// New makes a target.
func New(c Config) (*Target, error) {
	if c.Now == nil {
		c.Now = time.Now
	}
	t := &Target{
		config: c, tokens: make(map[[tokenSize]byte]*token), operations: make(map[operationKey]*operation),
		results:    make(map[operationKey]*copyResult),
		attentions: make(map[nexusUnit]scsi.SenseCode), known: make(map[string]bool),
	}
	for i, d := range c.Disks {
		u, err := newUnit(c.Number, i, d)
		if err != nil {
			return nil, fmt.Errorf("target: disk %d: %w", i, err)
		}
		t.units = append(t.units, u)
	}
	if len(t.units) == 0 || len(t.units) > 256 {
		return nil, fmt.Errorf("target: %d disks", len(t.units))
	}
	return t, nil
}

func newUnit(target uint8, number int, d Disk) (*unit, error) {
	if d.BlockSize != 512 && d.BlockSize != 4096 || d.Blocks == 0 || d.Blocks > 1<<40 {
		return nil, fmt.Errorf("%d blocks of %d bytes", d.Blocks, d.BlockSize)
	}
	if d.Backing == nil {
		d.Backing = blocks.Memory(make([]byte, d.Blocks*uint64(d.BlockSize)))
	}
	u := &unit{number: number, medium: d.Backing, block: d.BlockSize, blocks: d.Blocks}
	u.identity = identify(target, number, scsi.Capacity{Blocks: d.Blocks, BlockSize: d.BlockSize})
	return u, nil
}

// locked is the medium of a unit, of which a write sees the whole.
type locked struct{ u *unit }

func (l locked) ReadAt(p []byte, off int64) (int, error) {
	l.u.io.RLock()
	defer l.u.io.RUnlock()
	return l.u.medium.ReadAt(p, off)
}

func (l locked) WriteAt(p []byte, off int64) (int, error) {
	l.u.io.Lock()
	defer l.u.io.Unlock()
	return l.u.medium.WriteAt(p, off)
}

// Bytes reads the medium of a unit past all commands.
func (t *Target) Bytes(unit int, p []byte, off int64) error {
	_, err := locked{t.units[unit]}.ReadAt(p, off)
	return err
}

// Fill writes the medium of a unit past all commands.
func (t *Target) Fill(unit int, p []byte, off int64) error {
	_, err := locked{t.units[unit]}.WriteAt(p, off)
	return err
}

// Units is the number of logical units.
func (t *Target) Units() int { return len(t.units) }

// Identity is what a unit says of itself.
func (t *Target) Identity(unit int) scsi.Identity {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.units[unit].identity
}

// Impersonate gives a unit the names of another one, or its own ones back (of == unit).
func (t *Target) Impersonate(unit, of int) error {
	if min(unit, of) < 0 || max(unit, of) >= len(t.units) {
		return errNoUnit
	}
	theirs := identify(t.config.Number, of, scsi.Capacity{})
	t.mu.Lock()
	defer t.mu.Unlock()
	t.units[unit].identity.Designators, t.units[unit].identity.Serial = theirs.Designators, theirs.Serial
	return nil
}

var errNoUnit = errors.New("target: no such unit")

// Enforce makes the target refuse what is beyond other limits than those that it reports; nil: what it reports.
func (t *Target) Enforce(limits *TokenLimits) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.enforced = limits
}

// limits are those in force; ok is false for a target without token copies.
func (t *Target) limits() (l TokenLimits, ok bool) {
	if t.config.Tokens == nil {
		return l, false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.enforced != nil {
		return *t.enforced, true
	}
	return *t.config.Tokens, true
}

// Entry is a command that has come in. Parameter lists are not kept: they hold tokens.
type Entry struct {
	Nexus string
	Unit  int
	CDB   []byte
	// Ended: there was an answer, which was Status with Sense.
	Ended  bool
	Status scsi.Status
	Sense  scsi.SenseCode
}

// Name is the name of the command, as faults call it.
func (e Entry) Name() string { return nameOf(e.CDB) }

// Log lists the commands so far, in the order of their arrival.
func (t *Target) Log() []Entry {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.log)
}

// Count counts the commands of a name so far.
func (t *Target) Count(name string) (n int) {
	for _, e := range t.Log() {
		if e.Name() == name {
			n++
		}
	}
	return n
}

// Lose is what a broken connection means: the operations of an initiator end, and it is told when it comes back.
func (t *Target) Lose(nexus string) {
	t.mu.Lock()
	var running []*operation
	for key, op := range t.operations {
		if key.nexus == nexus {
			running = append(running, op)
			delete(t.operations, key)
		}
	}
	maps.DeleteFunc(t.results, func(key operationKey, _ *copyResult) bool { return key.nexus == nexus })
	delete(t.known, nexus)
	maps.DeleteFunc(t.attentions, func(key nexusUnit, _ scsi.SenseCode) bool { return key.nexus == nexus })
	t.mu.Unlock()
	for _, op := range running {
		op.cancel()
		<-op.done
	}
}

// Reset has a unit tell all initiators that it was reset. SAM-5, 6.3.3.
func (t *Target) Reset(unit int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for nexus := range t.known {
		t.attentions[nexusUnit{nexus, unit}] = wasReset
	}
}

// greet makes every unit report to a new initiator that it has been switched on.
func (t *Target) greet(nexus string) {
	if t.known[nexus] {
		return
	}
	t.known[nexus] = true
	for i := range t.units {
		t.attentions[nexusUnit{nexus, i}] = powerOn
	}
}

// Execute carries out a command. When ctx ends the initiator has taken it back: what goes on is stopped, and the reply is
// lost.
func (t *Target) Execute(ctx context.Context, c *Command) Reply {
	at, fault := t.arrive(c)
	reply := t.run(ctx, c, fault)
	t.mu.Lock()
	defer t.mu.Unlock()
	entry := &t.log[at]
	entry.Ended, entry.Status, entry.Sense = !reply.Lost, reply.Status, reply.code
	return reply
}

// arrive enters a command in the log and finds out what shall go wrong with it.
func (t *Target) arrive(c *Command) (int, Fault) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.greet(c.Nexus)
	t.log = append(t.log, Entry{Nexus: c.Nexus, Unit: c.Unit, CDB: slices.Clone(c.CDB)})
	return len(t.log) - 1, t.pick(c)
}

func (t *Target) run(ctx context.Context, c *Command, f Fault) Reply {
	t.strike(f)
	if f.Drop {
		return Reply{Lost: true}
	}
	if !pause(ctx, f.Delay) {
		return Reply{Lost: true}
	}
	reply := t.answer(ctx, c, f)
	if f.Lose || ctx.Err() != nil {
		return Reply{Lost: true}
	}
	reply.Residual = f.Residual
	return reply
}

// pause is false when the command was taken back meanwhile.
func pause(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// answer is what the command does when it is let.
func (t *Target) answer(ctx context.Context, c *Command, f Fault) Reply {
	switch {
	case f.Status != 0:
		return Reply{Status: f.Status}
	case f.Sense != (scsi.SenseCode{}):
		return refuse(f.Sense)
	}
	op := opcode(c.CDB)
	form, ok := forms[op]
	if !ok || len(c.CDB) < form.length {
		return refuse(invalidOpcode)
	}
	if c.Unit < 0 || c.Unit >= len(t.units) {
		return t.nobody(c, op)
	}
	if !form.always {
		if code, pending := t.attention(c); pending {
			return refuse(code)
		}
	}
	return form.do(t, ctx, t.units[c.Unit], c, f)
}

// attention takes what the unit has to tell the initiator first.
func (t *Target) attention(c *Command) (scsi.SenseCode, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	key := nexusUnit{c.Nexus, c.Unit}
	code, pending := t.attentions[key]
	delete(t.attentions, key)
	return code, pending
}
