package layout

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/dmcopy/dmcopy/dmtable"
	"github.com/dmcopy/dmcopy/internal/bcache"
	"github.com/dmcopy/dmcopy/internal/sysblock"
	"github.com/dmcopy/dmcopy/mdraid"
	"github.com/dmcopy/dmcopy/remap"
)

// Schema is the version of the stored form. It grows with every change that
// older readers would misunderstand.
const Schema = 1

// What can be wrong with a snapshot. The errors that wrap these name the device.
var (
	// ErrFormat: this is no stored snapshot.
	ErrFormat = errors.New("not a stack snapshot")
	// ErrSchema: the snapshot was stored by a newer version.
	ErrSchema = errors.New("snapshot of a newer schema")
	// ErrImpossible: a stored device contradicts itself.
	ErrImpossible = errors.New("impossible device in the snapshot")
	// ErrRace: the layout changed each time that it was read.
	ErrRace = errors.New("layout changed while it was read")
	// ErrUnknown: the snapshot has no device of that name.
	ErrUnknown = errors.New("not in the snapshot")
)

// Error tells which device, file or name an error is about.
type Error struct {
	Subject string
	Err     error
}

func (e *Error) Error() string {
	if e.Subject == "" {
		return "snapshot: " + e.Err.Error()
	}
	return "snapshot: " + e.Subject + ": " + e.Err.Error()
}

// Unwrap gives access to the sentinel or errno.
func (e *Error) Unwrap() error { return e.Err }

// Snapshot is what was seen of some block devices and of everything below
// them. It holds no secrets.
type Snapshot struct {
	Schema  int       `json:"schema"`
	Created time.Time `json:"created"`
	// Kernel is the release of the running kernel, "6.12.107+deb13-amd64".
	Kernel string `json:"kernel"`
	// SharedGroups: lvmlockd serves the machine.
	SharedGroups bool `json:"shared_groups,omitempty"`
	// Nodes are in order of device number.
	Nodes []Node `json:"nodes"`

	trust Trust
	// raced is why something was not read although it may be the next time.
	raced error
}

// Trusting is the snapshot for an operator who lets checks be left out.
func (s *Snapshot) Trusting(trust Trust) *Snapshot {
	t := *s
	t.trust = trust
	return &t
}

// Node is one device.
type Node struct {
	sysblock.Facts
	// DM is the table of a mapped device.
	DM *dmtable.Table `json:"dm,omitempty"`
	// MD is what an md array is made of.
	MD *mdraid.Array `json:"md,omitempty"`
	// Bcache is what a bcache device is made of.
	Bcache *bcache.Device `json:"bcache,omitempty"`
	// Loop is the file of a loop device.
	Loop *sysblock.LoopFile `json:"loop,omitempty"`
	// Offload is set for leaves that were asked how they copy.
	Offload *Offload `json:"offload,omitempty"`
	// Problems say why maps that are on disk could not be read.
	Problems []string `json:"problems,omitempty"`
	// Raced tells of a device with Unread that it was another one each time that it
	// was looked at.
	Raced bool `json:"raced,omitempty"`

	// print is set by a Reader.
	print remap.Fingerprint
}

// Stack makes a stack of the devices. Errors name the device that is
// incomplete, contradicts itself, or rests on itself.
func (s *Snapshot) Stack() (*remap.Stack, error) {
	nodes := make([]*remap.Node, 0, len(s.Nodes))
	for i := range s.Nodes {
		n, err := s.Nodes[i].node(s.trust)
		if err != nil {
			return nil, &Error{s.Nodes[i].describe(), err}
		}
		n.Owner.Shared = s.SharedGroups && n.Owner.Manager == "lvm"
		nodes = append(nodes, n)
	}
	return remap.New(nodes)
}

func (n *Node) node(trust Trust) (*remap.Node, error) {
	if err := n.check(); err != nil {
		return nil, err
	}
	if n.Unread != "" {
		return printed(n.unread(), n)
	}
	node := &remap.Node{
		Dev: n.Dev, Name: n.Name, Path: n.Path(), Size: n.Size, BlockSize: n.LogicalBlock, ReadOnly: n.ReadOnly,
		Layer: n.Layer(), Leaf: n.Leaf(), Condition: remap.Condition{Mutable: n.Stacked() && n.Kind != sysblock.Partition}, Print: n.print,
	}
	if note := n.Note(); note != "" {
		node.Notes = []string{note}
	}
	if t := n.DM; t != nil {
		node.Layer, node.CopiesOnWrite, node.Locked = t.TrustedLayer(trust), t.CopiesOnWrite(), t.Locks()
		node.Notes, node.Granule, node.Bypassed = t.Notes(), t.Granule(), t.Bypassed()
		node.Label, node.Owner, node.Transition, node.Coordinated = t.Label(), t.Owner(), t.Transition(), t.Coordinated()
	}
	if a := n.MD; a != nil {
		node.Layer, node.Owner, node.Transition, node.Notes = a.Layer(), remap.Owner{Manager: "md"}, a.Transition(), a.Notes()
		node.Coordinated = a.Below()
	}
	if b := n.Bcache; b != nil {
		node.Layer, node.Owner, node.Transition, node.Notes = b.Layer(), remap.Owner{Manager: "bcache"}, b.Transition(), b.Notes()
		node.Coordinated = b.Below()
	}
	if l := n.Loop; l != nil {
		node.Layer = remap.OpaqueLayer{Layer: string(n.Kind), Reason: "layer:loop", Lower: n.below()}
		node.Storage, node.Notes = l.Storage(), []string{l.Note()}
	}
	node.Notes = append(node.Notes, n.Problems...)
	return printed(node, n)
}

// printed gives a node that has none the print of what is stored of it.
func printed(node *remap.Node, n *Node) (*remap.Node, error) {
	if node.Print == (remap.Fingerprint{}) {
		stored, err := json.Marshal(n)
		if err != nil {
			return nil, err
		}
		node.Print = sha256.Sum256(stored)
	}
	return node, nil
}

// check finds what no Reader can have seen.
func (n *Node) check() error {
	isPart := n.Kind == sysblock.Partition
	switch {
	case n.Unread != oneLine(n.Unread):
		return impossible("unread: %q", n.Unread)
	case n.Unread != "":
		return n.checkUnread()
	case n.LowerUnknown, n.Raced:
		return impossible("the device is marked as partly read, but nothing is missing")
	case !validName(n.Name):
		return impossible("name %q", n.Name)
	case !validName(string(n.Kind)):
		return impossible("kind %q", n.Kind)
	case isPart != (n.Part != nil):
		return impossible("kind %s, but partition facts present: %v", n.Kind, n.Part != nil)
	case isPart && (n.Part.Start < 0 || n.Part.Start > remap.MaxSectors):
		return impossible("partition starts at sector %d", n.Part.Start)
	case slices.ContainsFunc(n.Problems, func(text string) bool { return text != oneLine(text) }):
		return impossible("problems %q", n.Problems)
	case n.Offload != nil && (n.Stacked() || !n.Offload.valid()):
		return impossible("record of how it copies")
	}
	return n.checkMade()
}

// checkUnread checks what is known of a device that was not read as a whole.
func (n *Node) checkUnread() error {
	switch {
	case n.DM != nil, n.MD != nil, n.Bcache != nil, n.Loop != nil, n.Offload != nil, len(n.Problems) > 0:
		return impossible("the device is marked as unread, but has contents")
	case oneLine(n.Name) != n.Name || oneLine(string(n.Kind)) != string(n.Kind):
		return impossible("name %q, kind %q", n.Name, n.Kind)
	}
	return nil
}

// checkMade checks what a device is made of. It is of one kind only.
func (n *Node) checkMade() error {
	switch {
	case n.MD != nil && (n.Kind != sysblock.MD || n.MD.Dev != n.Dev || n.MD.Size != n.Size):
		return impossible("kind %s with an array of %s, %d sectors", n.Kind, n.MD.Dev, n.MD.Size)
	case n.Bcache != nil && (n.Kind != sysblock.Bcache || n.Bcache.Dev != n.Dev || n.Bcache.Size != n.Size):
		return impossible("kind %s with a bcache device %s, %d sectors", n.Kind, n.Bcache.Dev, n.Bcache.Size)
	case n.Loop != nil && n.Kind != sysblock.Loop:
		return impossible("kind %s with a file", n.Kind)
	case n.DM != nil && n.Kind != sysblock.DM:
		return impossible("kind %s with a table of device-mapper", n.Kind)
	case n.DM != nil && n.DM.Dev != n.Dev:
		return impossible("table of %s", n.DM.Dev)
	case n.MD != nil:
		return n.MD.Check()
	case n.Bcache != nil:
		return n.Bcache.Check()
	case n.Loop != nil:
		return n.Loop.Check()
	case n.DM != nil:
		return n.DM.Check()
	}
	return nil
}

func impossible(what string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrImpossible, fmt.Sprintf(what, args...))
}

// validName tells whether s can be a kernel's name: it becomes a part of
// paths, reasons and printed lines.
func validName(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] >= 0x7f || s[i] == '/' {
			return false
		}
	}
	return s != "" && s != "." && s != ".." && len(s) < 64
}

func (n *Node) describe() string {
	return fmt.Sprintf("%q (%s)", n.Name, n.Dev)
}

// Lookup finds a device by the kernel's name, the path of its node, its label,
// its name in device-mapper, or "major:minor".
func (s *Snapshot) Lookup(name string) (remap.Dev, error) {
	for i := range s.Nodes {
		n := &s.Nodes[i]
		if name == n.Name || name == n.Path() || name == n.Dev.String() {
			return n.Dev, nil
		}
		if t := n.DM; t != nil && (name == t.Name || name == t.Label() || name == "/dev/mapper/"+t.Name || name == "/dev/"+t.Label()) {
			return n.Dev, nil
		}
	}
	return s.shown(name)
}

// shown finds a mapped device by its name as dmsetup shows it, if it is the only one.
func (s *Snapshot) shown(name string) (remap.Dev, error) {
	var found []remap.Dev
	for i := range s.Nodes {
		if t := s.Nodes[i].DM; t != nil && sysblock.Unmangled(t.Name) == strings.TrimPrefix(name, "/dev/mapper/") {
			found = append(found, s.Nodes[i].Dev)
		}
	}
	if len(found) != 1 {
		return remap.Dev{}, &Error{name, ErrUnknown}
	}
	return found[0], nil
}
