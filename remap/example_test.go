package remap_test

import (
	"fmt"

	"github.com/dmcopy/dmcopy/remap"
)

// Two partitions of a disk: where do the sectors of one lie, and can a command that copies within
// the disk copy one to the other?
func Example() {
	disk := remap.Dev{Major: 259, Minor: 0}
	first, second := remap.Dev{Major: 259, Minor: 1}, remap.Dev{Major: 259, Minor: 2}
	stack, err := remap.New([]*remap.Node{
		{Dev: disk, Name: "nvme0n1", Size: 1 << 21, BlockSize: 512, Leaf: &remap.Leaf{}},
		{Dev: first, Name: "nvme0n1p1", Size: 4096, BlockSize: 512, Layer: remap.Shifted{Layer: "partition", Dev: disk, Start: 2048}},
		{Dev: second, Name: "nvme0n1p2", Size: 4096, BlockSize: 512, Layer: remap.Shifted{Layer: "partition", Dev: disk, Start: 8192}},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	from, to := remap.Range{Dev: first, Len: 4096}, remap.Range{Dev: second, Len: 4096}
	for piece, err := range remap.Pair(stack, from, stack, to) {
		if err != nil {
			fmt.Println(err)
			return
		}
		src, dst := piece.Src.Leg, piece.Dst.Leg
		fmt.Printf("%d sectors: %s @ %d to %s @ %d\n", piece.Len(), stack.Node(src.Dev).Name, src.Start, stack.Node(dst.Dev).Name, dst.Start)
	}
	// Output: 4096 sectors: nvme0n1 @ 2048 to nvme0n1 @ 8192
}
