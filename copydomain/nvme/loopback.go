package nvme

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/dmcopy/dmcopy/copydomain/blocks"
	"github.com/dmcopy/dmcopy/internal/boottime"
)

// Loopback is an NVMe controller in memory: a Transport for tests, without a
// kernel. It answers Identify, the effects log, Host Behavior Support, Copy within
// and between its namespaces, and Flush, and behaves where the specification
// leaves a choice as QEMU 10 does, which is the less comfortable choice:
//
//   - the number of ranges and the sum of their blocks are checked before
//     anything moves, but MSSRL and the bounds of the namespace range by range,
//     when earlier ranges have been written already;
//   - between two namespaces MSSRL is that of the source, the others are those
//     of the destination;
//   - ranges are executed in order, each read as a whole and then written;
//     overlaps are not noticed;
//   - after a failure DW0 is the number of the range that failed.
//
// Commands run concurrently. Faults are injected with [Loopback.SetFault], and
// every command is kept in a log.
type Loopback struct {
	mu         sync.Mutex
	controller Controller
	namespaces map[uint32]*loopbackNamespace
	behavior   HostBehavior
	maySet     bool
	fault      func(n int, c *Command) Fault
	adminFault func(c *Command) (Status, error)
	log        []LoopbackEntry
	arrived    int // I/O commands in log
	late       sync.WaitGroup
}

var _ BehaviorSetter = (*Loopback)(nil)

// LoopbackNamespace describes a namespace of a Loopback.
type LoopbackNamespace struct {
	NSID uint32

	// Namespace is what Identify reports. Limits are also what is enforced,
	// until SetEnforced says otherwise.
	Namespace

	// CommandSet is what the descriptor list reports.
	CommandSet CommandSet

	// Zones, if there are any, makes the namespace a zoned one, whatever CommandSet says.
	Zones *LoopbackZones

	// Backing holds Blocks × BlockSize bytes. Reads and writes are serialized.
	Backing blocks.Backing
}

type loopbackNamespace struct {
	LoopbackNamespace
	enforced Limits
	io       sync.Mutex // around each access to Backing
}

// Fault changes what becomes of one I/O command. The zero Fault changes nothing.
type Fault struct {
	// Hold delays the execution until it is closed (or receives).
	Hold <-chan struct{}

	// Lost is returned instead of the completion, e.g. unix.EINTR. The
	// command is executed nevertheless, at once or, with Hold, in the
	// background after the caller has got the error: a ghost. With
	// blocks.ErrNotIssued in it, the command is not executed at all.
	Lost error

	// Status, if not success, ends the command before range At, the earlier
	// ranges having been copied. Junk first fills the destination of range
	// At with the complement of its source.
	Status Status
	At     int
	Junk   bool

	// Part is how many blocks of range At are copied before that.
	Part uint64

	// DW0 replaces the progress reported with Status.
	DW0 *uint32

	// Silent completes the command with success without copying anything.
	Silent bool
}

// LoopbackEntry is a command as a Loopback saw it. Completion and Err are what
// the caller got; they are zero while the command is held.
type LoopbackEntry struct {
	Admin      bool
	Command    Command // Data is a copy of what was sent, nil for admin commands
	Completion Completion
	Err        error
}

// NewLoopback makes a controller with the given identity and namespaces.
func NewLoopback(c Controller, namespaces ...LoopbackNamespace) *Loopback {
	l := &Loopback{controller: c, namespaces: make(map[uint32]*loopbackNamespace)}
	for _, n := range namespaces {
		l.Attach(n)
	}
	return l
}

// Attach adds a namespace.
func (l *Loopback) Attach(n LoopbackNamespace) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if n.Zones != nil {
		n.CommandSet = CommandSetZoned
	}
	l.namespaces[n.NSID] = &loopbackNamespace{LoopbackNamespace: n, enforced: n.Limits}
}

// NewMemoryLoopback makes a controller that copies, with one namespace 1 of mem
// in blocks of blockSize bytes. len(mem) is a multiple of blockSize.
func NewMemoryLoopback(mem []byte, blockSize uint32, limits Limits) *Loopback {
	return NewLoopback(
		Controller{
			Serial: "LOOP0001", Model: "dmcopy loopback", Firmware: "1", SubNQN: "nqn.2014-08.org.nvmexpress:loopback",
			CNTLID: 1, Version: 1<<16 | 4<<8, MDTS: 7, EffectsLog: true, Copy: true, CopyFormats: 1, VolatileCache: true,
		},
		LoopbackNamespace{
			NSID:      1,
			Namespace: Namespace{Blocks: uint64(len(mem)) / uint64(blockSize), BlockSize: blockSize, Limits: limits, NGUID: [16]byte{15: 1}},
			Backing:   blocks.Memory(mem),
		})
}

// SetFault installs a hook that is asked about every Copy and Flush, in the order
// of their arrival; n counts from 0. The hook must not call the Loopback.
func (l *Loopback) SetFault(hook func(n int, c *Command) Fault) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fault = hook
}

// SetAdminFault installs a hook that is asked about every admin command. A status
// or an error takes the place of the answer, and then nothing is done. The hook
// must not call the Loopback.
func (l *Loopback) SetAdminFault(hook func(c *Command) (Status, error)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.adminFault = hook
}

// AllowSetBehavior implements BehaviorSetter.
func (l *Loopback) AllowSetBehavior() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.maySet = true
}

// Behavior is what the host has set.
func (l *Loopback) Behavior() HostBehavior {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.behavior
}

// SetBehavior is what somebody else sets, or the driver when it has reset the
// controller.
func (l *Loopback) SetBehavior(b HostBehavior) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.behavior = b
}

// Change changes what the controller is.
func (l *Loopback) Change(edit func(*Controller)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	edit(&l.controller)
}

// SetReported changes the limits that Identify reports.
func (l *Loopback) SetReported(nsid uint32, limits Limits) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.namespaces[nsid].Limits = limits
}

// SetEnforced changes the limits that commands are held to.
func (l *Loopback) SetEnforced(nsid uint32, limits Limits) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.namespaces[nsid].enforced = limits
}

// Log returns all commands so far, in the order of their arrival.
func (l *Loopback) Log() []LoopbackEntry {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.log)
}

// Copies decodes the Copy commands of the log.
func (l *Loopback) Copies() ([]CopyCommand, error) {
	var copies []CopyCommand
	for _, e := range l.Log() {
		if e.Admin || e.Command.Opcode != OpCopy {
			continue
		}
		cmd, _, err := decodeCopy(&e.Command)
		if err != nil {
			return nil, err
		}
		copies = append(copies, cmd)
	}
	return copies, nil
}

// decodeCopy takes a Copy command apart, and tells which namespace it reads.
func decodeCopy(c *Command) (CopyCommand, uint32, error) {
	cmd, snsid, err := CopyCommand{DstLBA: c.DstLBA()}, c.NSID, error(nil)
	if formatOf(c) == Format2 {
		cmd.Ranges, snsid, err = DecodeRangesFrom(nil, c.Data)
	} else {
		cmd.Ranges, err = DecodeRanges(nil, c.Data)
	}
	return cmd, snsid, err
}

// Wait returns when no command runs in the background any more.
func (l *Loopback) Wait() { l.late.Wait() }

// Close implements Transport.
func (l *Loopback) Close() error { return nil }

// Admin implements Transport.
func (l *Loopback) Admin(ctx context.Context, c *Command) (Completion, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := admit(ctx, c, func(c *Command) error { return checkAdmin(c, l.maySet) }); err != nil {
		return Completion{}, err
	}
	completion, err := l.answer(c)
	logged := *c
	logged.Data = nil
	l.log = append(l.log, LoopbackEntry{Admin: true, Command: logged, Completion: completion, Err: err})
	return completion, err
}

func (l *Loopback) answer(c *Command) (Completion, error) {
	if l.adminFault != nil {
		if status, err := l.adminFault(c); err != nil || status != StatusSuccess {
			return Completion{Status: status}, opError("loopback", "", err)
		}
	}
	return Completion{Status: l.admin(c)}, nil
}

// admit is what the ioctl transport does before it issues anything.
func admit(ctx context.Context, c *Command, check func(*Command) error) error {
	if err := ctx.Err(); err != nil {
		return opError("loopback", "", fmt.Errorf("%w: %w", blocks.ErrNotIssued, err))
	}
	err := check(c)
	if err == nil {
		err = c.NotAfter.Check(boottime.Now())
	}
	if err != nil {
		return opError("loopback", "", fmt.Errorf("%w: %w", blocks.ErrNotIssued, err))
	}
	return nil
}

func (l *Loopback) admin(c *Command) Status {
	var reply []byte
	switch {
	case c.Opcode == OpGetLogPage && c.CDW10&0xFF == 0x05 && l.controller.EffectsLog:
		reply = l.controller.effectsLog()
	case c.Opcode == OpGetLogPage:
		return StatusInvalidLogPage | StatusDNR
	case c.Opcode == OpSetFeatures:
		l.behavior = HostBehavior(c.Data)
		return StatusSuccess
	case c.Opcode == OpGetFeatures:
		reply = l.behavior[:]
	case c.CDW10&0xFF == cnsController:
		reply = l.controller.identify()
	default:
		n, ok := l.namespaces[c.NSID]
		if !ok {
			return StatusInvalidNamespace | StatusDNR
		}
		switch c.CDW10 & 0xFF {
		case cnsNamespace:
			reply = n.Namespace.identify()
		case cnsNamespaceDescs:
			reply = n.descriptors()
		case cnsNamespaceOfSet:
			if n.Zones == nil || CommandSet(c.CDW11>>24) != CommandSetZoned {
				return StatusInvalidField | StatusDNR
			}
			reply = n.Zones.identify()
		default:
			return StatusInvalidField | StatusDNR
		}
	}
	copy(c.Data, reply)
	return StatusSuccess
}

// IO implements Transport.
func (l *Loopback) IO(ctx context.Context, c *Command) (Completion, error) {
	if err := admit(ctx, c, checkIO); err != nil {
		return Completion{}, err
	}
	at, fault := l.arrive(c)
	completion, err := l.run(c, fault)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.log[at].Completion, l.log[at].Err = completion, err
	return completion, err
}

// arrive enters the command in the log and asks for its fault.
func (l *Loopback) arrive(c *Command) (int, Fault) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := l.arrived
	if c.Opcode != OpZoneReceive {
		l.arrived++
	}
	logged := *c
	logged.Data = bytes.Clone(c.Data)
	l.log = append(l.log, LoopbackEntry{Command: logged})
	if l.fault == nil || c.Opcode == OpZoneReceive {
		return len(l.log) - 1, Fault{}
	}
	return len(l.log) - 1, l.fault(n, &logged)
}

func (l *Loopback) run(c *Command, f Fault) (Completion, error) {
	completion, err := blocks.Fate(func() Completion { return l.execute(c, f) }, f.Hold, f.Lost, &l.late)
	return completion, opError("loopback", "", err)
}

func (l *Loopback) execute(c *Command, f Fault) Completion {
	l.mu.Lock()
	dst, ok := l.namespaces[c.NSID]
	able := l.controller.Copy
	l.mu.Unlock()
	switch {
	case !ok:
		return Completion{Status: StatusInvalidNamespace | StatusDNR}
	case c.Opcode == OpZoneReceive && dst.Zones == nil:
		return Completion{Status: StatusInvalidOpcode | StatusDNR}
	case c.Opcode == OpZoneReceive:
		dst.Zones.report(c.Data, c.DstLBA(), dst.Blocks)
		return Completion{}
	case c.Opcode == OpFlush && f.Status != StatusSuccess:
		return Completion{Status: f.Status}
	case c.Opcode == OpFlush || f.Silent:
		return Completion{}
	case !able:
		return Completion{Status: StatusInvalidOpcode | StatusDNR}
	}
	done, status := l.copy(c, dst, f)
	completion := Completion{Status: status}
	if status != StatusSuccess {
		completion.Result = uint64(done)
		if f.DW0 != nil && f.Status != StatusSuccess {
			completion.Result = uint64(*f.DW0)
		}
	}
	return completion
}

// source finds the namespace that a command reads, and what is enforced.
func (l *Loopback) source(c *Command, snsid uint32, dst *loopbackNamespace) (*loopbackNamespace, Limits, Status) {
	l.mu.Lock()
	defer l.mu.Unlock()
	format := formatOf(c)
	told := l.behavior.CopyFormats().Has(format) || format < Format2
	if !l.controller.CopyFormats.Has(format) || !told {
		return nil, Limits{}, StatusInvalidField | StatusDNR
	}
	src, ok := l.namespaces[snsid]
	if !ok {
		return nil, Limits{}, StatusInvalidField | StatusDNR
	}
	if src.BlockSize != dst.BlockSize || src.MetadataSize != dst.MetadataSize || src.Protection != dst.Protection {
		return nil, Limits{}, StatusIncompatible | StatusDNR
	}
	limits := dst.enforced
	limits.RangeBlocks = src.enforced.RangeBlocks
	return src, limits, StatusSuccess
}

// copy returns the number of ranges copied before status ended it.
func (l *Loopback) copy(c *Command, dst *loopbackNamespace, f Fault) (int, Status) {
	cmd, snsid, err := decodeCopy(c)
	if err != nil {
		return 0, StatusInvalidField | StatusDNR
	}
	src, limits, status := l.source(c, snsid, dst)
	if status != StatusSuccess {
		return 0, status
	}
	if len(cmd.Ranges) > int(limits.Ranges) || cmd.Blocks() > uint64(limits.CommandBlocks) {
		return 0, StatusCommandSizeLimit | StatusDNR
	}
	for i, p := range cmd.pieces() {
		if f.Status != StatusSuccess && i >= f.At {
			if f.Junk {
				move(src, dst, p, true)
			}
			if f.Part > 0 {
				move(src, dst, p.UpTo(min(f.Part, p.Blocks)), false)
			}
			return i, f.Status
		}
		if p.Blocks > uint64(limits.RangeBlocks) {
			return i, StatusCommandSizeLimit | StatusDNR
		}
		if status := move(src, dst, p, false); status != StatusSuccess {
			return i, status
		}
	}
	if f.Status != StatusSuccess { // At is behind the last range
		return len(cmd.Ranges), f.Status
	}
	return len(cmd.Ranges), StatusSuccess
}

func (n *loopbackNamespace) contains(lba, count uint64) bool {
	return lba <= n.Blocks && count <= n.Blocks-lba
}

// move copies one range, or scrambles its destination.
func move(src, dst *loopbackNamespace, p blocks.Piece, junk bool) Status {
	if !src.contains(p.SrcLBA, p.Blocks) || !dst.contains(p.DstLBA, p.Blocks) {
		return StatusLBAOutOfRange | StatusDNR
	}
	if status := dst.Zones.takes(p); status != StatusSuccess {
		return status
	}
	b := make([]byte, p.Blocks*uint64(dst.BlockSize))
	if err := src.access(src.Backing.ReadAt, b, p.SrcLBA); err != nil {
		return StatusUnrecoveredRead
	}
	if junk {
		for i := range b {
			b[i] = ^b[i]
		}
	}
	if err := dst.access(dst.Backing.WriteAt, b, p.DstLBA); err != nil {
		return StatusWriteFault
	}
	dst.Zones.advance(p)
	return StatusSuccess
}

func (n *loopbackNamespace) access(do func([]byte, int64) (int, error), b []byte, lba uint64) error {
	n.io.Lock()
	defer n.io.Unlock()
	_, err := do(b, int64(lba*uint64(n.BlockSize)))
	return err
}
