package scsi

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/dmcopy/dmcopy/copydomain/blocks"
	"github.com/dmcopy/dmcopy/internal/boottime"
)

// Behaviour is how a target differs from others. [LIO], [TCMURunner], [SCST] and
// [CTL] are the free ones.
type Behaviour struct {
	Parameters Parameters // what it reports

	Enforced

	ThirdPartyOff bool // emulate_3pc=0: no 3PC bit, no command, and no source for others
	SameUnitOnly  bool // copies within one logical unit
	NoListID      bool // refuses list identifiers
	AnyName       bool // takes every designator, not just 16 bytes of NAA 6
	CheckLength   bool // the block length in a descriptor has to be right
	ThirdPartyVPD bool // page 8Fh
	Long, Short   bool // forms of EXTENDED COPY
	Descriptor    bool // sense data in the descriptor format
	Forwards      bool // tells what its logical units answered
	Granular      bool // enforces the granularity
	NoSync16      bool // knows SYNCHRONIZE CACHE(10) only

	// ChunkBytes is the length of its internal reads and writes.
	ChunkBytes uint64
}

// Enforced is what a target enforces, if that is not what it reports: 0 means as reported.
type Enforced struct {
	EnforcedSegmentBlocks uint32
	EnforcedSegments      uint16
}

var bothTypes = []uint8{segmentBlockToBlock, cscdIdentification}

// LIO is the target of the Linux kernel: drivers/target/target_core_xcopy.c.
func LIO() Behaviour {
	return Behaviour{
		Parameters: Parameters{
			NoListID: true, Descriptors: 2, Segments: 1, ListBytes: 1024, SegmentBytes: 256 << 20,
			TotalConcurrent: 1, MaxConcurrent: 1, Granularity: 512, Types: bothTypes,
		},
		Short: true, ChunkBytes: 16 << 20,
	}
}

// TCMURunner is the user space handler of LIO. It copies within one logical unit,
// and takes no list identifiers.
func TCMURunner() Behaviour {
	b := LIO()
	b.Parameters.SegmentBytes = 16 << 20
	b.SameUnitOnly, b.NoListID = true, true
	return b
}

// SCST is the target of the SCST project. It takes many segments and every
// designator, and insists on the block length.
func SCST() Behaviour {
	return Behaviour{
		Parameters: Parameters{
			NoListID: true, Descriptors: 5, Segments: 100, ListBytes: 65535, SegmentBytes: 256 << 20,
			TotalConcurrent: 255, MaxConcurrent: 255, Granularity: 64 << 10, Types: bothTypes,
		},
		Short: true, AnyName: true, CheckLength: true, Forwards: true, ChunkBytes: 512 << 10,
	}
}

// CTL is the target of FreeBSD, which knows both forms and page 8Fh.
func CTL() Behaviour {
	return Behaviour{
		Parameters: Parameters{
			NoListID: true, Descriptors: 64, Segments: 64, ListBytes: 64 << 10,
			TotalConcurrent: 255, MaxConcurrent: 255, Granularity: 1, Types: bothTypes,
		},
		Short: true, Long: true, AnyName: true, ThirdPartyVPD: true, Descriptor: true, Forwards: true, ChunkBytes: 1 << 20,
	}
}

// Loopback is a SCSI target in memory with several logical units, for tests
// without a kernel. Where the specification leaves a choice it does as LIO does,
// which is the less comfortable choice:
//
//   - a name that is that of the unit which got the command means this unit, even
//     if another one has the same name;
//   - the ends of the units are not looked at before the copy gets there;
//   - the copy ascends in chunks, each read and then written, so that ranges that
//     overlap spread;
//   - whatever fails then is COPY ABORTED 0D/02, and nothing tells how far it came.
//
// Commands run concurrently. Faults are injected with [Loopback.SetFault], and
// every command is kept in a log.
type Loopback struct {
	behaviour Behaviour

	mu      sync.Mutex
	units   []*loopbackUnit
	fault   func(n int, c *Command) Fault
	log     []LoopbackEntry
	arrived int // copies in log
	late    sync.WaitGroup
}

// LoopbackUnit describes a logical unit of a Loopback.
type LoopbackUnit struct {
	// Identity is what it reports. BlockSize × Blocks bytes are in Backing.
	Identity
	DeviceType uint8

	// Reserved: another initiator holds it, so that it answers RESERVATION
	// CONFLICT.
	Reserved bool

	// Attention is reported once, instead of an answer.
	Attention []SenseCode

	// Backing holds the bytes. Reads and writes are serialized.
	Backing blocks.Backing
}

type loopbackUnit struct {
	LoopbackUnit
	io sync.Mutex // around each access to Backing
}

// Fault changes what becomes of one EXTENDED COPY. The zero Fault changes nothing.
type Fault struct {
	// Hold delays the execution until it is closed (or receives).
	Hold <-chan struct{}

	// Lost is returned instead of the completion. The command is executed
	// nevertheless, at once or, with Hold, in the background after the caller
	// has got the error: a ghost. With blocks.ErrNotIssued in it, the command is not
	// executed at all.
	Lost error

	// Completion, if it is not a success, ends the command after At blocks.
	// Junk first fills the next block of the destination with the complement
	// of its source.
	Completion Completion
	At         uint64
	Junk       bool

	// Silent completes the command with success without copying anything,
	// Short after At blocks, and Swap with every two blocks exchanged.
	Silent, Short, Swap bool
}

// LoopbackEntry is a command as a Loopback saw it. Completion and Err are what the
// caller got; they are zero while the command is held.
type LoopbackEntry struct {
	Unit       int
	Command    Command // Data is a copy of what was sent
	Completion Completion
	Err        error
}

// NewLoopback makes a target with the given logical units.
func NewLoopback(b Behaviour, units ...LoopbackUnit) *Loopback {
	l := &Loopback{behaviour: b}
	for _, u := range units {
		l.units = append(l.units, &loopbackUnit{LoopbackUnit: u})
	}
	return l
}

// NewMemoryLoopback makes a target with a logical unit for each of mem, in blocks
// of blockSize bytes. Each length is a multiple of blockSize.
func NewMemoryLoopback(b Behaviour, blockSize uint32, mem ...[]byte) *Loopback {
	var units []LoopbackUnit
	for i, m := range mem {
		units = append(units, LoopbackUnit{
			Identity: LoopbackIdentity(byte(i), Capacity{Blocks: uint64(len(m)) / uint64(blockSize), BlockSize: blockSize}),
			Backing:  blocks.Memory(m),
		})
	}
	return NewLoopback(b, units...)
}

// LoopbackIdentity makes the names that LIO gives to a logical unit.
func LoopbackIdentity(number byte, capacity Capacity) Identity {
	serial := fmt.Sprintf("%02x5eed00-0000-4000-8000-0000000000%02x", number, number)
	naa := []byte{0x60, 0x01, 0x40, 0x50 | number>>4, number<<4 | 5, 0xEE, 0xD0, 0, 0, 0, 0x40, 0, 0x80, 0, 0, 0}
	name := []byte("naa.600140500000000a\x00\x00\x00\x00")
	return Identity{
		Designators: []Designator{
			{codeASCII, LogicalUnit, TypeT10, []byte("LIO-ORG " + serial)},
			{codeBinary, LogicalUnit, TypeNAA, naa},
			{codeBinary, TargetPort, 4, []byte{0, 0, 0, 1}},
			{codeUTF8, TargetPort, TypeName, []byte("naa.600140500000000a,t,0x0001\x00\x00\x00")},
			{codeUTF8, TargetDevice, TypeName, name},
			{codeBinary, TargetPort, 5, make([]byte, 4)},  // its group
			{codeBinary, LogicalUnit, 6, make([]byte, 4)}, // and that of the unit
		},
		Serial:   serial,
		Capacity: capacity,
	}
}

// Unit is a Transport to logical unit number i.
func (l *Loopback) Unit(i int) Transport { return &loopbackPort{l, i} }

type loopbackPort struct {
	target *Loopback
	number int
}

// Close implements Transport.
func (p *loopbackPort) Close() error { return nil }

// SetFault installs a hook that is asked about every EXTENDED COPY, in the order
// of their arrival; n counts from 0. The hook must not call the Loopback.
func (l *Loopback) SetFault(hook func(n int, c *Command) Fault) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fault = hook
}

// Change changes what a logical unit is.
func (l *Loopback) Change(unit int, edit func(*LoopbackUnit)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	edit(&l.units[unit].LoopbackUnit)
}

// Log returns all commands so far, in the order of their arrival.
func (l *Loopback) Log() []LoopbackEntry {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.log)
}

// Copies decodes the EXTENDED COPY commands of the log.
func (l *Loopback) Copies() ([]*List, error) {
	var copies []*List
	for _, e := range l.Log() {
		if e.Command.Opcode() != OpThirdPartyOut {
			continue
		}
		list, err := DecodeList(Form(e.Command.CDB[1]), e.Command.Data)
		if err != nil {
			return nil, err
		}
		copies = append(copies, list)
	}
	return copies, nil
}

// Wait returns when no command runs in the background any more.
func (l *Loopback) Wait() { l.late.Wait() }

// Do implements Transport.
func (p *loopbackPort) Do(ctx context.Context, c *Command) (Completion, error) {
	err := check(c)
	if err == nil {
		err = ctx.Err()
	}
	if err == nil {
		err = c.NotAfter.Check(boottime.Now())
	}
	if err != nil {
		return Completion{}, opError("loopback", "", fmt.Errorf("%w: %w", blocks.ErrNotIssued, err))
	}
	at, fault := p.arrive(c)
	completion, err := p.run(c, fault)
	p.target.mu.Lock()
	defer p.target.mu.Unlock()
	p.target.log[at].Completion, p.target.log[at].Err = completion, err
	return completion, err
}

// arrive enters the command in the log and asks for its fault.
func (p *loopbackPort) arrive(c *Command) (int, Fault) {
	l := p.target
	l.mu.Lock()
	defer l.mu.Unlock()
	logged := Command{CDB: bytes.Clone(c.CDB), Timeout: c.Timeout}
	if c.toDevice() {
		logged.Data = bytes.Clone(c.Data)
	}
	l.log = append(l.log, LoopbackEntry{Unit: p.number, Command: logged})
	if !c.toDevice() {
		return len(l.log) - 1, Fault{}
	}
	n := l.arrived
	l.arrived++
	if l.fault == nil {
		return len(l.log) - 1, Fault{}
	}
	return len(l.log) - 1, l.fault(n, &logged)
}

func (p *loopbackPort) run(c *Command, f Fault) (Completion, error) {
	completion, err := blocks.Fate(func() Completion { return p.execute(c, f) }, f.Hold, f.Lost, &p.target.late)
	return completion, opError("loopback", "", err)
}

// state is what a command finds: a copy, so that nothing changes under it.
func (p *loopbackPort) state() (u LoopbackUnit, attention *SenseCode) {
	p.target.mu.Lock()
	defer p.target.mu.Unlock()
	mine := p.target.units[p.number]
	if len(mine.Attention) > 0 {
		attention = &mine.Attention[0]
	}
	return mine.LoopbackUnit, attention
}

// took makes the unit forget the attention that it has reported.
func (p *loopbackPort) took() {
	p.target.mu.Lock()
	defer p.target.mu.Unlock()
	mine := p.target.units[p.number]
	mine.Attention = mine.Attention[1:]
}

func (p *loopbackPort) execute(c *Command, f Fault) Completion {
	unit, attention := p.state()
	b := &p.target.behaviour
	if c.Opcode() == OpInquiry { // answers whatever has happened
		return b.inquire(c, unit)
	}
	if attention != nil {
		p.took()
		return b.sense(*attention)
	}
	switch c.Opcode() {
	case OpReadCapacity10, OpServiceActionIn16:
		return fill(c, unit.capacity(c.Opcode()))
	case OpSynchronizeCache16:
		if b.NoSync16 {
			return b.sense(SenseCode{IllegalRequest, 0x20, 0x00})
		}
	case OpThirdPartyIn:
		return b.receive(c)
	case OpThirdPartyOut:
		if unit.Reserved {
			return Completion{Status: ReservationConflict}
		}
		return p.copy(c, f)
	}
	return Completion{}
}

// receive: LIO answers nothing but the operating parameters.
func (b *Behaviour) receive(c *Command) Completion {
	switch {
	case b.ThirdPartyOff:
		return b.sense(SenseCode{IllegalRequest, 0x20, 0x00})
	case c.CDB[1] != saReceiveParameters:
		return b.sense(SenseCode{IllegalRequest, 0x24, 0x00})
	}
	return fill(c, b.Parameters.encode())
}

// fill answers with data.
func fill(c *Command, data []byte) Completion {
	return Completion{Resid: len(c.Data) - copy(c.Data, data)}
}
