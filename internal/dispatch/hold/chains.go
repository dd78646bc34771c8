package hold

import (
	"slices"

	"github.com/dmcopy/dmcopy/remap"
)

// cover chooses chains that together pass through every node, few of them and
// the long runs first. One read in flight through a device is enough to hold
// it, whatever part of the device the read is for: dm counts bios per device,
// not per target line.
func cover(chains []Chain) []Chain {
	byGain := slices.Clone(chains)
	slices.SortStableFunc(byGain, func(a, b Chain) int {
		if d := len(b.Nodes) - len(a.Nodes); d != 0 {
			return d
		}
		return int(min(b.Len, maxRead)) - int(min(a.Len, maxRead))
	})
	held := make(map[remap.Dev]bool)
	var chosen []Chain
	for _, c := range byGain {
		if slices.ContainsFunc(c.Nodes, func(d remap.Dev) bool { return !held[d] }) {
			chosen = append(chosen, c)
			for _, d := range c.Nodes {
				held[d] = true
			}
		}
	}
	return chosen
}
