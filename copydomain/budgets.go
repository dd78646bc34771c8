package copydomain

import (
	"cmp"
	"sync"

	"github.com/dmcopy/dmcopy/copydomain/blocks"
	"github.com/dmcopy/dmcopy/remap"
)

// budgets are those of the disks and arrays that a finder has met. Whoever copies by them shares them. File
// systems have none: they lock both files for each call, and are asked for one call at a time by each copy.
type budgets struct {
	mu  sync.Mutex
	all map[string]*blocks.Budget
}

// of is the budget of a disk or an array.
func (b *budgets) of(domain string) *blocks.Budget {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.all[domain] == nil {
		if b.all == nil {
			b.all = make(map[string]*blocks.Budget)
		}
		b.all[domain] = blocks.NewBudget()
	}
	return b.all[domain]
}

// subsystemOf names what executes the commands for a namespace.
func subsystemOf(leaf *remap.Node) string {
	return "nvme:" + cmp.Or(leaf.Leaf.NVMe.Subsystem, leaf.Leaf.NVMe.Serial, leaf.Dev.String())
}
