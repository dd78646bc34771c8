// Package resolver compares the resolver with the kernel, for every kind of layer
// that the kernel of the guest can build: where a sector is read from, and where
// a written one lands.
//
// A kind builds devices of random geometry on runs of disks that hold stamps, so
// that whatever is read tells where it comes from. There are three witnesses:
// what the leaves hold at the places that the resolver names, the tracepoint
// block:block_bio_remap, and the places at which a stamp is found that was
// written through the top.
package resolver

import (
	"flag"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/dmcopy/dmcopy/test/vm"
)

const mib = 1 << 20

var (
	seed   = flag.Uint64("seed", 0, "seed of the random geometries; 0 takes a new one")
	rounds = flag.Int("rounds", 1, "how often every kind is built, as a multiple of what is usual")
)

// The disks. Subjects are small and use runs of a few MiB.
var (
	leafDisks = []vm.Disk{
		{Serial: "leaf", NSID: 1, Size: 32 * mib},
		{Serial: "leaf", NSID: 2, Size: 32 * mib},
		{Serial: "leaf", NSID: 3, Size: 32 * mib},
		{Serial: "leaf", NSID: 4, Size: 32 * mib},
		{Serial: "leaf", NSID: 5, Size: 32 * mib},
		{Serial: "leaf", NSID: 6, Size: 32 * mib},
		{Bus: vm.BusVirtio, Serial: "virt", Size: 32 * mib},
		{Bus: vm.BusSCSI, Serial: "scsi", Size: 32 * mib},
	}
	bigBlockDisks = []vm.Disk{
		{Serial: "fourk", NSID: 1, Size: 32 * mib, BlockSize: 4096},
		{Serial: "fourk", NSID: 2, Size: 32 * mib, BlockSize: 4096},
		{Bus: vm.BusVirtio, Serial: "virtfourk", Size: 32 * mib, BlockSize: 4096},
	}
	// One logical unit that shows as two disks: nobody makes a head of them.
	pathDisk = vm.Disk{Serial: "paths", Size: 16 * mib, Controllers: 2}
)

func TestMain(m *testing.M) {
	disks := append(append([]vm.Disk{pathDisk}, leafDisks...), bigBlockDisks...)
	vm.Main(m, vm.Machine{
		// The kernel warns about many of the layouts that are made here.
		Cmdline:  "loglevel=3 nvme_core.multipath=N",
		Programs: []string{"github.com/dmcopy/dmcopy/cmd/dmcopy"},
		Disks:    disks,
	})
}

// sectorsAtLeast is how many sectors a whole run compares, at the least.
const sectorsAtLeast = 20_000

// TestLayers builds each kind a few times and checks every sector of it.
func TestLayers(t *testing.T) {
	if *seed == 0 {
		*seed = uint64(time.Now().UnixNano())
	}
	t.Logf("seed %d: repeat with -seed=%d", *seed, *seed)
	pool := newPool(t)
	var all tally
	whole := true
	for _, k := range kinds {
		ran := t.Run(k.name, func(t *testing.T) {
			sum := k.run(t, pool)
			all.add(sum)
		})
		whole = whole && ran && all.ran(k.name)
	}
	t.Logf("%s", &all)
	if whole && all.compared() < sectorsAtLeast {
		t.Errorf("%d sectors were compared, want %d", all.compared(), sectorsAtLeast)
	}
}

// run builds a kind several times. Each geometry follows from the seed, the name
// of the kind and the number of the trial alone, so that one can be repeated
// without the others.
func (k *kind) run(t *testing.T, pool *pool) *tally {
	sum := &tally{names: map[string]bool{k.name: true}}
	if missing := k.missing(t); missing {
		return sum
	}
	begin := time.Now()
	trials := max(k.trials, 1) * *rounds
	if testing.Short() {
		trials = 1
	}
	for trial := range trials {
		t.Run(fmt.Sprint(trial), func(t *testing.T) {
			name := fnv.New64a()
			fmt.Fprintf(name, "%s/%d", k.name, trial)
			b := newBench(t, pool, rand.New(rand.NewPCG(*seed, name.Sum64())))
			for _, s := range k.build(b) {
				sum.add(b.check(k, s))
			}
		})
	}
	t.Logf("%s in %v", sum, time.Since(begin).Round(time.Millisecond))
	k.checkMapped(t, sum)
	return sum
}
