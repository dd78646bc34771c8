package copydomain_test

import (
	"context"
	"fmt"

	"github.com/dmcopy/dmcopy/copydomain"
	"github.com/dmcopy/dmcopy/copydomain/nvme"
	"github.com/dmcopy/dmcopy/remap"
)

// Can one command copy within a disk? The disk here is one in memory.
func ExampleFinder() {
	finder := copydomain.NewFinderWith(func(*remap.Node) (nvme.Transport, error) {
		return nvme.NewMemoryLoopback(make([]byte, 1<<20), 512, nvme.Limits{RangeBlocks: 128, CommandBlocks: 256, Ranges: 128}), nil
	})
	defer finder.Close()
	disk := &remap.Node{Dev: remap.Dev{Major: 259}, Name: "nvme0n1", Size: 1 << 11, BlockSize: 512, Leaf: &remap.Leaf{Driver: "nvme", Zoned: "none", NVMe: &remap.NVMeLeaf{NSID: 1, Subsystem: "nqn", Serial: "LOOP0001"}}}
	pair := finder.Pair(context.Background(), disk, disk)
	fmt.Println(pair.Method)
	// Output: nvme-copy
}
