package fakestack

import (
	"context"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/copydomain"
	"github.com/dmcopy/dmcopy/copydomain/nvme"
	"github.com/dmcopy/dmcopy/copydomain/scsi"
	"github.com/dmcopy/dmcopy/internal/boottime"
	"github.com/dmcopy/dmcopy/internal/dispatch/machine"
	"github.com/dmcopy/dmcopy/remap"
)

// Machine is the system around a copy.
type Machine struct {
	*copydomain.Finder

	// Seed is what the contents of all sectors depend on.
	Seed uint64
	// UnsafeSwaps lets tables be swapped below anchors, which no kernel does.
	UnsafeSwaps bool
	// NoAnchor makes holding mapped devices impossible.
	NoAnchor bool
	// Hooks are called at the points that they are named for, without any
	// lock. They are set before the copy begins.
	Hooks Hooks

	mu      sync.Mutex
	moved   *sync.Cond // something that somebody waits for has changed
	devices map[remap.Dev]*device
	// controllers are those of the namespaces, by their names.
	controllers map[string]*nvme.Loopback
	order       []*device
	minor       map[uint32]uint32
	holds       map[*held]bool
	current     *held // the one under which commands are issued
	watches     map[*watch]bool
	news        news
	calls       map[string]int
	expect      map[*leaf][]byte
	task        *task
	broken      []string
	witnessed   map[string]int
	maySet      bool      // controllers may be told something
	halted      time.Time // until when the process does not run
}

// Now is the moment on the clock of the machine, which is that of package time and can
// so be the one of a bubble (testing/synctest).
func (m *Machine) Now() boottime.Instant { return boottime.Instant(time.Now().UnixNano()) }

var _ machine.Machine = (*Machine)(nil)

// Hooks are called with the number of the call, counted from 0. All may be nil.
type Hooks struct {
	Stack func(n int)
	// BeforeChanges and AfterChanges stand around the comparison of the
	// layout; the first may fail it.
	BeforeChanges func(n int) error
	AfterChanges  func(n int)
	// Hold may fail a hold; Held comes after one began, Release before it ends.
	Hold    func(n int) error
	Held    func(n int)
	Release func(n int)
	// Command comes before each command for a namespace, Landed after it.
	Command func(n int, c *nvme.Command)
	Landed  func(n int, c *nvme.Command)
	// Sent comes before each copy command for a logical unit, Answered after it.
	Sent     func(n int, c *scsi.Command)
	Answered func(n int, c *scsi.Command)
	// IO comes before each transfer through a device: "read", "write", "zero"
	// or "flush", in bytes.
	IO func(op string, dev remap.Dev, off, n int64)
	// Drop comes before the page cache of a device is dropped.
	Drop func(n int, dev remap.Dev)
}

// device is a disk, or something made of other devices.
type device struct {
	dev   remap.Dev
	name  string
	size  remap.Sector
	block int
	owner remap.Owner

	leaf  *leaf
	table table
	grown table // the end of the table, which is not part of what moves
	kind  kind

	waiting   int // swaps that wait for I/O in flight
	suspended bool
	reserved  bool // for who has suspended it: nobody else changes it
	staged    bool
	odd       *Oddity
	gone      bool // unplugged
	cache     pageCache
}

type kind int

const (
	mapped kind = iota
	partition
	array
)

// Numbers of the drivers (Documentation/admin-guide/devices.txt); those of dm
// and NVMe are dynamic, and as usual.
const (
	majorSCSI = 8
	majorMD   = 9
	majorDM   = 254
	majorNVMe = 259
)

// New makes a machine without devices.
func New(seed uint64) *Machine {
	m := &Machine{
		Seed:    seed,
		devices: make(map[remap.Dev]*device), controllers: make(map[string]*nvme.Loopback),
		minor: make(map[uint32]uint32),
		holds: make(map[*held]bool), watches: make(map[*watch]bool),
		calls: make(map[string]int), witnessed: make(map[string]int),
	}
	m.moved = sync.NewCond(&m.mu)
	m.Reopen()
	return m
}

// Reopen forgets what was found out about disks and what was under way on them, as
// another process does. Close ends what the one before has opened.
func (m *Machine) Reopen() {
	m.Finder = copydomain.NewFinderFor(copydomain.Openers{
		NVMe:        m.open,
		SCSI:        m.openUnit,
		Controllers: func(leaf *remap.Node) ([]string, error) { return []string{leaf.Leaf.NVMe.Controller}, nil },
		Controller:  func(name string) (nvme.Transport, error) { return &admin{m.controllers[name], m}, nil },
	})
	m.Follow(copydomain.Sources{Events: m.listen, Software: m.software})
}

func (m *Machine) add(major uint32, name string, d *device) remap.Dev {
	m.mu.Lock()
	defer m.mu.Unlock()
	d.dev = remap.Dev{Major: major, Minor: m.minor[major]}
	m.minor[major]++
	d.name = fmt.Sprintf(name, d.dev.Minor)
	d.cache.init()
	m.devices[d.dev] = d
	m.order = append(m.order, d)
	return d.dev
}

// Namespace describes an NVMe namespace.
type Namespace struct {
	Sectors remap.Sector
	Block   int // bytes; default 512
	Limits  nvme.Limits
	// NoCopy makes a controller without the Copy command.
	NoCopy bool
	// Beside makes it another namespace of the controller that leads to this one,
	// instead of the first of a controller of its own.
	Beside remap.Dev
}

// Roomy are limits that no test of this size meets.
var Roomy = nvme.Limits{RangeBlocks: 1 << 12, CommandBlocks: 1 << 14, Ranges: 128}

// AddNamespace adds a namespace, stamped all over, with a controller and a
// subsystem of its own unless it is beside another one. Controllers know how to
// copy from one of their namespaces to another, and have not been told to.
func (m *Machine) AddNamespace(n Namespace) remap.Dev {
	if n.Block == 0 {
		n.Block = sectorSize
	}
	l := m.newLeaf(n.Sectors)
	number := len(m.order)
	at := remap.NVMeLeaf{NSID: 1}
	if beside := m.devices[n.Beside]; beside != nil {
		l.loopback = beside.leaf.loopback
		at = *beside.leaf.facts.NVMe
		at.NSID = uint32(number + 1)
	} else {
		at.Serial = fmt.Sprintf("FAKE%04d", number)
		at.Subsystem = fmt.Sprintf("nqn.2014-08.org.nvmexpress:fake%d", number)
		at.Controller = fmt.Sprintf("nvme%d", number)
		l.loopback = nvme.NewLoopback(nvme.Controller{
			Serial: at.Serial, Model: "fakestack", Firmware: "1", SubNQN: at.Subsystem, CNTLID: 1, Version: 1<<16 | 4<<8, MDTS: 7,
			EffectsLog: true, Copy: !n.NoCopy, CopyFormats: 0xF, VolatileCache: true,
		})
		m.controllers[at.Controller] = l.loopback
	}
	l.loopback.Attach(nvme.LoopbackNamespace{
		NSID: at.NSID,
		Namespace: nvme.Namespace{
			Blocks: uint64(n.Sectors.Bytes()) / uint64(n.Block), BlockSize: uint32(n.Block), Limits: n.Limits,
			NGUID: [16]byte{15: byte(number + 1)},
		},
		Backing: backing{l},
	})
	l.address = address{block: int64(n.Block), nsid: at.NSID}
	l.facts = remap.Leaf{
		Driver: "nvme", Identity: fmt.Sprintf("nvme.%d", number), Zoned: "none", WriteCache: "write back", NVMe: &at,
	}
	return m.add(majorNVMe, "nvme%dn1", &device{size: n.Sectors, block: n.Block, leaf: l})
}

// AddDisk adds a disk that cannot copy.
func (m *Machine) AddDisk(size remap.Sector, block int) remap.Dev {
	l := m.newLeaf(size)
	l.facts = remap.Leaf{Driver: "virtio", Identity: fmt.Sprintf("disk%d", len(m.order)), Zoned: "none", WriteCache: "write back"}
	return m.add(majorSCSI, "sd%d", &device{size: size, block: block, leaf: l})
}

// AddPath adds another path to a disk: a device of its own with the same bytes and
// the same name.
func (m *Machine) AddPath(to remap.Dev) remap.Dev {
	d := m.devices[to]
	return m.add(majorSCSI, "sd%d", &device{size: d.size, block: d.block, leaf: d.leaf})
}

// Call gives a disk the name of another one.
func (m *Machine) Call(dev, like remap.Dev) {
	m.devices[dev].leaf.facts.Identity = m.devices[like].leaf.facts.Identity
}

func (m *Machine) newLeaf(size remap.Sector) *leaf {
	l := &leaf{data: contents.get(size.Bytes()), undo: make(map[int64][][]byte), bad: make(map[int64]error), worn: make(map[int64]error)}
	for s := range int64(size) {
		m.Stamp(l.data[s*sectorSize:][:sectorSize], uint64(len(m.order)), s)
	}
	return l
}

// AddMapped adds a device of device-mapper.
func (m *Machine) AddMapped(segments ...Segment) remap.Dev {
	return m.addTable(majorDM, "dm-%d", mapped, segments)
}

// AddVolume adds a device of device-mapper that LVM manages.
func (m *Machine) AddVolume(group string, segments ...Segment) remap.Dev {
	dev := m.AddMapped(segments...)
	m.devices[dev].owner = remap.Owner{Manager: "lvm", Group: group}
	return dev
}

// Share makes the volume group of a device one that other machines may change.
func (m *Machine) Share(dev remap.Dev) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.devices[dev].owner.Shared = true
}

// AddPartition adds a partition. Nobody can move it while it is open.
func (m *Machine) AddPartition(of remap.Dev, start, size remap.Sector) remap.Dev {
	return m.addTable(majorNVMe, "p%d", partition, table{{size, Linear{of, start}}})
}

// AddMirror adds an array. Its legs in sync are made equal.
func (m *Machine) AddMirror(size remap.Sector, mirror Mirror) remap.Dev {
	dev := m.addTable(majorMD, "md%d", array, table{{size, mirror}})
	content := m.Content(dev, 0, size)
	for i, leg := range mirror.Legs {
		if mirror.inSync(i) {
			m.set(leg.Dev, leg.Start, content)
		}
	}
	return dev
}

func (m *Machine) addTable(major uint32, name string, k kind, t table) remap.Dev {
	d := &device{size: t.size(), block: sectorSize, table: t, kind: k}
	for _, dev := range t.below() {
		d.block = max(d.block, m.devices[dev].block)
	}
	for _, seg := range t {
		if c, ok := seg.Target.(Crypt); ok {
			d.block = max(d.block, int(c.Key.Block.Bytes()))
		}
	}
	return m.add(major, name, d)
}

// Remove takes a device away that nothing rests on any more.
func (m *Machine) Remove(dev remap.Dev) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.devices, dev)
}

// Loopback is the controller of a namespace, for injecting faults. Several
// namespaces can share it.
func (m *Machine) Loopback(dev remap.Dev) *nvme.Loopback { return m.devices[dev].leaf.loopback }

// FailReads makes a sector of a disk unreadable, for the host and for the
// controller.
func (m *Machine) FailReads(dev remap.Dev, s remap.Sector, err error) {
	l := m.devices[dev].leaf
	l.mu.Lock()
	defer l.mu.Unlock()
	l.bad[int64(s)] = err
}

// FailWrites makes a sector of a disk unwritable, for the host and for the controller.
// It keeps what it holds.
func (m *Machine) FailWrites(dev remap.Dev, s remap.Sector, err error) {
	l := m.devices[dev].leaf
	l.mu.Lock()
	defer l.mu.Unlock()
	l.worn[int64(s)] = err
}

// Stop keeps everything that is written or flushed from now on from having an
// effect: who does it is dead, and does not know yet.
func (m *Machine) Stop() { m.turn(true) }

// Start ends Stop.
func (m *Machine) Start() { m.turn(false) }

func (m *Machine) turn(off bool) {
	for _, d := range m.order {
		if d.leaf != nil {
			d.leaf.turn(off)
		}
	}
}

// complain notes that the copy did something that nobody may do.
func (m *Machine) complain(format string, args ...any) {
	m.broken = append(m.broken, fmt.Sprintf(format, args...))
}

// call counts a call of a hook.
func (m *Machine) call(what string) int {
	m.Await()
	m.mu.Lock()
	defer m.mu.Unlock()
	n := m.calls[what]
	m.calls[what]++
	return n
}

// Calls tells how often something was done: "stack", "changes", "hold",
// "command", "admin", "read", "write", "zero", "flush", "drop".
func (m *Machine) Calls(what string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.calls[what]
}

// open reaches a namespace.
func (m *Machine) open(n *remap.Node) (nvme.Transport, error) {
	l := m.devices[n.Dev].leaf
	return &transport{m: m, leaf: l, Transport: l.loopback}, nil
}

// transport is a controller with the hooks and the cache of the machine.
type transport struct {
	nvme.Transport
	m    *Machine
	leaf *leaf
}

// Admin implements nvme.Transport.
func (t *transport) Admin(ctx context.Context, c *nvme.Command) (nvme.Completion, error) {
	t.m.witnessAdmin(c)
	t.m.change(func() { t.m.calls["admin"]++ })
	return t.Transport.Admin(ctx, c)
}

// IO implements nvme.Transport.
func (t *transport) IO(ctx context.Context, c *nvme.Command) (nvme.Completion, error) {
	n := t.m.call("command")
	if hook := t.m.Hooks.Command; hook != nil {
		hook(n, c)
	}
	if t.leaf.unplugged.Load() {
		return nvme.Completion{}, unix.ENODEV
	}
	if err := t.m.admit(c.NotAfter); err != nil {
		return nvme.Completion{}, err
	}
	t.m.witnessIO(ctx, t.leaf, c)
	admitted := *c
	admitted.NotAfter = nil // which is for another clock than that of the loopback
	done, err := t.Transport.IO(ctx, &admitted)
	if err == nil && c.Opcode == nvme.OpFlush && done.Status.Code() == nvme.StatusSuccess {
		if t.leaf.flush() != nil {
			done.Status = nvme.StatusWriteFault
		}
	}
	if hook := t.m.Hooks.Landed; hook != nil {
		hook(n, c)
	}
	t.m.Await()
	return done, err
}
