package main

import (
	"fmt"

	"github.com/dmcopy/dmcopy/internal/layout"
	"github.com/dmcopy/dmcopy/remap"
)

// refusals are what a snapshot tells of why copy would refuse a device. It does not tell
// what is mounted, and who has what open.
type refusals struct {
	stack *remap.Stack
	// holder is what is made of a device.
	holder map[remap.Dev]*remap.Node
	// parts are the partitions of a disk.
	parts map[remap.Dev][]remap.Dev
}

func newRefusals(s *layout.Snapshot, st *remap.Stack) *refusals {
	r := &refusals{stack: st, holder: make(map[remap.Dev]*remap.Node), parts: make(map[remap.Dev][]remap.Dev)}
	for i := range s.Nodes {
		n := &s.Nodes[i]
		for _, dev := range n.Slaves {
			r.holder[dev] = st.Node(n.Dev)
		}
		if n.Part != nil {
			r.parts[n.Part.Parent] = append(r.parts[n.Part.Parent], n.Dev)
		}
	}
	return r
}

// settle tells why copy would refuse these ends, and has them stand still to be planned
// with.
func (r *refusals) settle(src, dst remap.Dev) (reasons []string) {
	for _, dev := range []remap.Dev{src, dst} {
		for _, n := range r.stack.Under(dev) {
			if n.Transition != "" {
				reasons = append(reasons, fmt.Sprintf("%s is %s: wait until its layout has changed", n.DisplayName(), n.Transition))
				n.Transition = "" // nobody can wait for a snapshot
			}
		}
	}
	n := r.stack.Node(dst)
	if n.ReadOnly {
		reasons = append(reasons, n.DisplayName()+" is read-only: make it writable first (blockdev --setrw, lvchange --permission rw)")
	}
	for _, dev := range append(r.parts[dst], dst) {
		if by := r.holder[dev]; by != nil {
			reasons = append(reasons, fmt.Sprintf("%s is in use: %s is made of %s: deactivate what is made of it first",
				n.DisplayName(), by.DisplayName(), r.stack.Node(dev).DisplayName()))
		}
	}
	return reasons
}
