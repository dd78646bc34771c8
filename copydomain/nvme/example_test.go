package nvme_test

import (
	"context"
	"fmt"
	"log"

	"github.com/dmcopy/dmcopy/copydomain/blocks"
	"github.com/dmcopy/dmcopy/copydomain/nvme"
)

// Copy two pieces inside a namespace, here one in memory. For a real one use
// nvme.Open("nvme0n1", true) and its NSID.
func ExampleCopier() {
	ctx := context.Background()
	mem := make([]byte, 1<<20)
	copy(mem, "hello")
	transport := nvme.NewMemoryLoopback(mem, 512, nvme.Limits{RangeBlocks: 128, CommandBlocks: 256, Ranges: 128})

	device, err := nvme.Probe(ctx, transport, 1)
	if err != nil {
		log.Fatal(err)
	}
	copier, err := nvme.NewCopier(device, blocks.Options{})
	if err != nil {
		log.Fatal(err) // says why the namespace cannot copy
	}
	result, err := copier.Copy(ctx, []blocks.Piece{
		{SrcLBA: 0, DstLBA: 1000, Blocks: 300},
		{SrcLBA: 500, DstLBA: 1300, Blocks: 8},
	})
	if err != nil {
		log.Fatal(err) // nothing was issued
	}
	fmt.Println("done:", result.Done, "in", result.Commands, "commands")
	for _, f := range result.Redo {
		fmt.Println("copy otherwise:", f.Piece, f.Action, f.Reason)
	}
	for _, f := range result.Fenced {
		fmt.Println("do not touch:", f.Pieces, f.Reason)
	}
	fmt.Printf("%s\n", mem[1000*512:1000*512+5])
	// Output:
	// done: [0+300->1000 500+8->1300] in 2 commands
	// hello
}

// A device that fails in the middle: what it had copied before counts.
func ExampleLoopback_SetFault() {
	ctx := context.Background()
	transport := nvme.NewMemoryLoopback(make([]byte, 1<<20), 512, nvme.Limits{RangeBlocks: 64, CommandBlocks: 256, Ranges: 128})
	transport.SetFault(func(n int, c *nvme.Command) nvme.Fault {
		return nvme.Fault{Status: nvme.StatusUnrecoveredRead, At: 2, Junk: true}
	})
	device, err := nvme.Probe(ctx, transport, 1)
	if err != nil {
		log.Fatal(err)
	}
	copier, err := nvme.NewCopier(device, blocks.Options{})
	if err != nil {
		log.Fatal(err)
	}
	result, err := copier.Copy(ctx, []blocks.Piece{{SrcLBA: 0, DstLBA: 1000, Blocks: 200}})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("done:", result.Done)
	for _, f := range result.Redo {
		fmt.Println("redo:", f.Piece, f.Action, f.Reason)
	}
	// Output:
	// done: [0+128->1000]
	// redo: 128+64->1128 emulate device:status-0x281
	// redo: 192+8->1192 emulate device:status-0x281
}

// Pieces of a striped volume, interleaved in the destination.
func ExamplePacker() {
	pieces := []blocks.Piece{
		{SrcLBA: 0, DstLBA: 1000, Blocks: 16},
		{SrcLBA: 64, DstLBA: 1032, Blocks: 16},
		{SrcLBA: 32, DstLBA: 1016, Blocks: 16},
	}
	pieces = blocks.SortByDestination(pieces)
	packer, err := nvme.NewPacker(nvme.Limits{RangeBlocks: 128, CommandBlocks: 128, Ranges: 128}, pieces)
	if err != nil {
		log.Fatal(err)
	}
	for c := range packer.All() {
		fmt.Println(c.DstLBA, c.Ranges)
	}
	// Output:
	// 1000 [{0 16} {32 16} {64 16}]
}
