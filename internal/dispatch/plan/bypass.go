package plan

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/dmcopy/dmcopy/internal/dispatch/ends"
	"github.com/dmcopy/dmcopy/internal/dispatch/failure"
	"github.com/dmcopy/dmcopy/remap"
)

// Below Android's metadata encryption lies what its file system has encrypted by itself,
// marked block by block, as it is. Whoever else reads such a block through the device
// gets it deciphered with a key that it never was enciphered with. So nothing is
// copied through such a device. What lies below both ends, under one key and for equal
// positions, may be moved as it is: that is ciphertext either way.

// bypassed returns the device on the way of an extent that a file system above
// bypasses, if there is one. What is behind an opaque layer may be on the way.
func (p *Plan) bypassed(e *remap.Extent) *remap.Node {
	for _, link := range e.Via.Chain() {
		if n := p.Stack.Node(link.Dev); n.Bypassed {
			return n
		}
	}
	if e.Kind == remap.Opaque {
		return bypassedUnder(p.Stack, e.Leg.Dev)
	}
	return nil
}

func bypassedUnder(st *remap.Stack, dev remap.Dev) *remap.Node {
	under := st.Under(dev)
	if i := slices.IndexFunc(under, func(n *remap.Node) bool { return n.Bypassed }); i >= 0 {
		return under[i]
	}
	return nil
}

// refuseThrough refuses to copy through a device of a stack that is bypassed.
func (p surveyor) refuseThrough(st *remap.Stack, n *remap.Node) error {
	var below []string
	for _, dev := range n.Layer.Below() {
		below = append(below, st.Node(dev).Path)
	}
	end := p.src.Name
	if !slices.Contains(st.Under(p.src.Dev), n) {
		end = p.Dst.Name
	}
	way := fmt.Sprintf("copy what is below it (%s), from first sector to first sector, to what is below such a layer with the same key", strings.Join(below, ", "))
	return failure.Refuse(end, "cannot be copied through %s: its file system tells this layer which blocks to leave as they are, and for everybody else the contents of encrypted files are spoiled (%s)",
		way, n.DisplayName(), n.Layer.Map(remap.Read, 0, 1).Layer)
}

// refuseBypassed refuses an end that is bypassed where the other one is a regular file, so
// that nothing is resolved.
func (p surveyor) refuseBypassed(ctx context.Context) error {
	if p.Stack != nil {
		return nil
	}
	for _, end := range []ends.Endpoint{p.src, p.Dst} {
		if end.Dev.IsZero() || end.File != nil {
			continue
		}
		st, err := p.machine.Stack(ctx, end.Dev)
		if err != nil {
			return err
		}
		if n := bypassedUnder(st, end.Dev); n != nil {
			return p.refuseThrough(st, n)
		}
	}
	return nil
}

// CheckBypass fails if steps that are left for the host would go through a device that is
// bypassed.
func CheckBypass(steps []Step) error {
	for i := range steps {
		if s := &steps[i]; s.wrongThrough() {
			return fmt.Errorf("%d bytes at byte %d were not copied by the disk (%s), and copying them through %s would spoil the contents of encrypted files", s.Len, s.DstOff, s.Reason, s.bypassed.DisplayName())
		}
	}
	return nil
}
