package window

import (
	"cmp"
	"slices"
	"time"

	"github.com/dmcopy/dmcopy/internal/dispatch/hold"
	"github.com/dmcopy/dmcopy/internal/dispatch/plan"
	"github.com/dmcopy/dmcopy/remap"
)

// Offload is the steps of a window that devices carry out, by the pair of leaves.
type Offload map[plan.Key][]plan.Step

// Steps are all of them, in the order of the destination.
func (o Offload) Steps() []plan.Step {
	var all []plan.Step
	for _, steps := range o {
		all = append(all, steps...)
	}
	slices.SortFunc(all, func(a, b plan.Step) int { return cmp.Compare(a.DstOff, b.DstOff) })
	return all
}

// ToHost sends all steps through the host.
func (o Offload) ToHost(why remap.Reason) []plan.Step { return ToHost(o.Steps(), why) }

// ToHost sends steps through the host.
func ToHost(steps []plan.Step, why remap.Reason) []plan.Step {
	steps = slices.Clone(steps)
	for i := range steps {
		steps[i].ToHost(why)
	}
	return steps
}

// Remove takes away what was not begun of the steps of a pair.
func (o Offload) Remove(key plan.Key, unbegun []plan.Step) {
	if len(unbegun) == 0 {
		return
	}
	if o[key] = plan.Without(o[key], unbegun); len(o[key]) == 0 {
		delete(o, key)
	}
}

// Through lists the devices on the way down to what the steps write.
func (o Offload) Through() map[remap.Dev]bool {
	devs := make(map[remap.Dev]bool)
	seen := make(map[*remap.Via]bool)
	for key, steps := range o {
		devs[key.Dst] = true
		for _, s := range steps {
			if seen[s.Via] {
				continue
			}
			seen[s.Via] = true
			for _, link := range s.Via.Chain() {
				devs[link.Dev] = true
			}
		}
	}
	return devs
}

// Request lists what has to be held for the steps: one chain per way from the
// destination down to a leaf, with the longest run that takes it.
func (o Offload) Request(stack *remap.Stack, deadline time.Duration) hold.Request {
	longest := make(map[*remap.Via]plan.Step)
	for _, steps := range o {
		for _, s := range steps {
			if s.Len > longest[s.Via].Len {
				longest[s.Via] = s
			}
		}
	}
	req := hold.Request{Deadline: deadline}
	for via, s := range longest {
		chain := hold.Chain{Start: remap.Sectors(s.DstOff), Len: remap.Sectors(s.Len), Leaf: s.DstLeaf.Dev}
		for _, link := range via.Chain() {
			node := stack.Node(link.Dev)
			if !node.Mutable {
				continue
			}
			chain.Nodes = append(chain.Nodes, link.Dev)
			if node.Owner.Manager == "lvm" && !slices.Contains(req.Groups, node.Owner.Group) {
				req.Groups = append(req.Groups, node.Owner.Group)
			}
		}
		req.Chains = append(req.Chains, chain)
	}
	slices.Sort(req.Groups)
	return req
}

// Grain is the bytes of one full command to every pair.
func (o Offload) Grain() int64 {
	var sum int64
	for _, steps := range o {
		sum += steps[0].Pair.CommandBytes
	}
	return sum
}
