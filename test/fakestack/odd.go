package fakestack

import (
	"crypto/sha256"
	"fmt"
	"sync/atomic"

	"github.com/dmcopy/dmcopy/internal/sysblock"
	"github.com/dmcopy/dmcopy/remap"
)

// Oddity is what is wrong with a device that cannot be read as a whole, though it works.
type Oddity struct {
	// Sizeless: nor can its size. Blind: nor what it is made of.
	Sizeless, Blind bool
	// Moving: it was another one each time that it was looked at.
	Moving bool
}

// Odd makes a device one that cannot be read as a whole, or with nil as good as any.
func (m *Machine) Odd(dev remap.Dev, o *Oddity) {
	m.change(func() { m.devices[dev].odd = o })
}

// looks counts the nodes that were spoilt: none is known to be what it was.
var looks atomic.Uint64

// spoil makes of a node what package layout makes of such a device.
func (o *Oddity) spoil(n *remap.Node, below []remap.Dev) {
	l := remap.OpaqueLayer{Layer: "dm", Reason: sysblock.ReasonUnread, Lower: below}
	if o.Blind {
		l.Reason, l.Lower = sysblock.ReasonBlind, nil
	}
	if o.Sizeless {
		n.Size = 0
	}
	n.Transition = ""
	if o.Moving {
		n.Transition = "changing while it is read"
	}
	n.Unread, n.Mutable, n.Layer = true, true, l
	n.Print = sha256.Sum256(fmt.Append(nil, "odd", looks.Add(1)))
}

// Unplug takes a disk away at once, whatever rests on it.
func (m *Machine) Unplug(dev remap.Dev) {
	m.change(func() {
		m.devices[dev].gone = true
		m.devices[dev].leaf.unplugged.Store(true)
	})
}
