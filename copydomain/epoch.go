package copydomain

import (
	"errors"
	"strings"
	"sync"

	"github.com/dmcopy/dmcopy/remap"
)

// What was found out about a disk, and what was proven of it, counts for as long as nothing has
// happened to it. A Finder that outlives a copy is told by events of the kernel, by what its own commands
// meet, and by what the disk calls its software. None of these keeps a command from going wrong: events
// come late. A command is refused by the disk that it does not suit, and the layout, with the
// identities of disks, is compared around each window. They only tell when to ask, and to prove,
// again.

// Epoch is a time in which nothing is known to have happened to a leaf.
type Epoch struct {
	// all, kind and leaf count what may have concerned every leaf, those of its kind, and this one.
	all, kind, leaf uint64
	software        string // by which it does what it does, as it calls it
	unknown         bool   // whether something has happened
}

// Until tells whether nothing has happened to the leaf from e to o. It is false if that is not known.
func (e Epoch) Until(o Epoch) bool { return !e.unknown && !o.unknown && e == o }

// Passed tells whether something is known to have happened to the leaf since e, by o.
func (e Epoch) Passed(o Epoch) bool {
	if e.unknown || o.unknown {
		return e.leaf != o.leaf || e.software != o.software
	}
	return e != o
}

// Event is something that has happened to a device.
type Event struct {
	// Subsystem is that of the device in the kernel, "block" or "nvme".
	Subsystem string
	// Dev is the number of a block device.
	Dev remap.Dev
}

// ErrEventsLost is the error of [Events] of which some were lost, and nobody knows which.
var ErrEventsLost = errors.New("copydomain: events were lost")

// Events are what the kernel tells of devices.
type Events interface {
	// Take returns what has happened since the last call, and does not wait. After an error other than
	// ErrEventsLost there will be none any more.
	Take() ([]Event, error)
	Close() error
}

// Sources are where a Finder learns what happens to leaves.
type Sources struct {
	// Events begins to listen. An error means that nothing can be known: whatever is asked is found out anew.
	Events func() (Events, error)
	// Software names what a leaf does its work by: a firmware. It may be nil.
	Software func(leaf *remap.Node) (string, error)
}

// epochs are those of all leaves. Without a source nothing happens but what commands meet.
type epochs struct {
	sources Sources

	mu     sync.Mutex
	events Events // nil while nobody listens
	all    uint64
	kinds  map[string]uint64
	leaves map[remap.Dev]uint64
}

// Follow has the finder learn what happens to leaves. It is called before anything is asked. Without
// it what is found out about a leaf counts until it looks another way, or a command meets a change.
func (f *Finder) Follow(s Sources) { f.epochs.sources = s }

// Epoch is the present epoch of a leaf.
func (f *Finder) Epoch(leaf *remap.Node) Epoch { return f.epochs.of(leaf) }

func (e *epochs) of(leaf *remap.Node) Epoch {
	var now Epoch
	if e.sources.Software != nil {
		var err error
		if now.software, err = e.sources.Software(leaf); err != nil {
			now.unknown = true
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.listen() {
		now.unknown = true
	}
	now.all, now.leaf = e.all, e.leaves[leaf.Dev]
	if leaf.Leaf != nil {
		now.kind = e.kinds[kindOf(leaf.Leaf.Driver)]
	}
	return now
}

// listen takes what has happened, and tells whether anything can be known. Who begins to listen knows
// nothing of what was before.
func (e *epochs) listen() bool {
	if e.sources.Events == nil {
		return true
	}
	if e.events == nil {
		e.all++
		events, err := e.sources.Events()
		if err != nil {
			return false
		}
		e.events = events
	}
	happened, err := e.events.Take()
	for _, event := range happened {
		e.happen(event)
	}
	if err == nil {
		return true
	}
	e.all++
	if errors.Is(err, ErrEventsLost) {
		return true
	}
	_ = e.events.Close() // nothing was written to it
	e.events = nil
	return false
}

// mostLeaves bounds the memory for the numbers of devices, which come and go.
const mostLeaves = 4096

// happen counts an event. One of a controller, or of a target, concerns whatever they lead to, and
// of which leaves that is does not show here: all of the kind.
func (e *epochs) happen(event Event) {
	if kind := kindOf(event.Subsystem); kind != "" {
		if e.kinds == nil {
			e.kinds = make(map[string]uint64)
		}
		e.kinds[kind]++
	}
	if event.Subsystem == "block" {
		e.count(event.Dev)
	}
}

func (e *epochs) count(dev remap.Dev) {
	if len(e.leaves) >= mostLeaves {
		clear(e.leaves)
		e.all++
	}
	if e.leaves == nil {
		e.leaves = make(map[remap.Dev]uint64)
	}
	e.leaves[dev]++
}

// meet notes that a command has met a change of a leaf.
func (e *epochs) meet(dev remap.Dev) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.count(dev)
}

func (e *epochs) close() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.events == nil {
		return nil
	}
	err := e.events.Close()
	e.events = nil
	return err
}

// kindOf is the driver of the leaves that a subsystem of the kernel leads to.
func kindOf(subsystem string) string {
	for _, prefix := range []string{"nvme", "scsi", "fc", "iscsi", "sas", "srp"} {
		if !strings.HasPrefix(subsystem, prefix) {
			continue
		}
		if prefix == "nvme" {
			return "nvme"
		}
		return driverSCSI
	}
	return ""
}
