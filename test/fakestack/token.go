package fakestack

import (
	"github.com/dmcopy/dmcopy/copydomain/scsi"
	"github.com/dmcopy/dmcopy/remap"
	"github.com/dmcopy/dmcopy/test/target"
)

// initiator is what targets know this machine as.
const initiator = "host"

// AddTokenTarget adds a SCSI target that copies by tokens, and its logical units, with
// blocks of so many bytes.
func (m *Machine) AddTokenTarget(limits target.TokenLimits, block int, sizes ...remap.Sector) (*target.Target, []remap.Dev) {
	// Targets have numbers of their own, so that no two units have one name.
	config := target.Config{Tokens: &limits, Number: uint8(0x80 + len(m.order))}
	var leaves []*leaf
	for _, size := range sizes {
		l := m.newLeaf(size)
		leaves = append(leaves, l)
		config.Disks = append(config.Disks, target.Disk{
			Blocks: uint64(size.Bytes()) / uint64(block), BlockSize: uint32(block), Backing: backing{l},
		})
	}
	made, err := target.New(config)
	if err != nil {
		panic(err)
	}
	var units []remap.Dev
	for i, l := range leaves {
		names := made.Identity(i).Designators
		l.facts = remap.Leaf{Driver: "scsi", Identity: names[0].String(), Zoned: "none", WriteCache: "write back"}
		l.address = address{block: int64(block), names: names}
		l.unit = func() scsi.Transport { return made.Unit(initiator, i) }
		units = append(units, m.add(majorSCSI, "sd%d", &device{size: sizes[i], block: block, leaf: l}))
	}
	return made, units
}

// LoseTargets is what targets notice of a host that is gone.
func LoseTargets(targets ...*target.Target) {
	for _, t := range targets {
		t.Lose(initiator)
	}
}
