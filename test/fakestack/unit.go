package fakestack

import (
	"context"
	"io/fs"

	"github.com/dmcopy/dmcopy/copydomain/scsi"
	"github.com/dmcopy/dmcopy/remap"
)

// AddTarget adds a SCSI target that behaves like that, and its logical units, with
// blocks of so many bytes.
func (m *Machine) AddTarget(b scsi.Behaviour, block int, sizes ...remap.Sector) (target *scsi.Loopback, units []remap.Dev) {
	var described []scsi.LoopbackUnit
	for i, size := range sizes {
		l := m.newLeaf(size)
		u := scsi.LoopbackUnit{
			Identity: scsi.LoopbackIdentity(byte(i), scsi.Capacity{Blocks: uint64(size.Bytes()) / uint64(block), BlockSize: uint32(block)}),
			Backing:  backing{l},
		}
		l.facts = remap.Leaf{Driver: "scsi", Identity: u.Designators[1].String(), Zoned: "none", WriteCache: "write back"}
		l.unit = func() scsi.Transport { return target.Unit(i) }
		l.address = address{block: int64(block), names: u.Designators}
		described = append(described, u)
		units = append(units, m.add(majorSCSI, "sd%d", &device{size: size, block: block, leaf: l}))
	}
	target = scsi.NewLoopback(b, described...)
	return target, units
}

func (m *Machine) openUnit(n *remap.Node, _ bool) (scsi.Transport, error) {
	l := m.device(n.Dev).leaf
	if l.unit == nil {
		return nil, fs.ErrNotExist
	}
	return &unitTransport{m: m, leaf: l, Transport: l.unit()}, nil
}

// unitTransport is a logical unit with the cache of the machine.
type unitTransport struct {
	scsi.Transport
	m    *Machine
	leaf *leaf
}

// Do implements scsi.Transport.
func (t *unitTransport) Do(ctx context.Context, c *scsi.Command) (scsi.Completion, error) {
	copies := c.Opcode() == scsi.OpThirdPartyOut
	var n int
	if copies {
		n = t.m.call("command")
	}
	if hook := t.m.Hooks.Sent; copies && hook != nil {
		hook(n, c)
	}
	if err := t.m.admit(c.NotAfter); err != nil {
		return scsi.Completion{}, err
	}
	t.m.witnessUnit(ctx, t.leaf, c)
	admitted := *c
	admitted.NotAfter = nil // which is for another clock than that of targets in memory
	done, err := t.Transport.Do(ctx, &admitted)
	if flush := c.Opcode() == scsi.OpSynchronizeCache10 || c.Opcode() == scsi.OpSynchronizeCache16; flush && err == nil && done.Err() == nil && t.leaf.flush() != nil {
		done = scsi.SenseCompletion(scsi.SenseCode{Key: scsi.MediumError, ASC: 0x0C})
	}
	if hook := t.m.Hooks.Answered; copies && hook != nil {
		hook(n, c)
	}
	t.m.Await()
	return done, err
}
