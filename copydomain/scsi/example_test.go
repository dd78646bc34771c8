package scsi_test

import (
	"context"
	"fmt"
	"log"

	"github.com/dmcopy/dmcopy/copydomain/blocks"
	"github.com/dmcopy/dmcopy/copydomain/scsi"
)

// Copy between two logical units of a target, here one in memory. For real ones
// use scsi.Open("sda", true).
func ExampleCopier() {
	ctx := context.Background()
	from, to := make([]byte, 1<<20), make([]byte, 1<<20)
	copy(from, "hello")
	target := scsi.NewMemoryLoopback(scsi.LIO(), 512, from, to)

	var devices []*scsi.Device
	for i := range 2 {
		device, err := scsi.Probe(ctx, target.Unit(i))
		if err != nil {
			log.Fatal(err)
		}
		devices = append(devices, device)
	}
	copier, err := scsi.NewCopier(devices[0], devices[1], blocks.Options{})
	if err != nil {
		log.Fatal(err) // says why no command spans the two
	}
	result, err := copier.Copy(ctx, []blocks.Piece{
		{SrcLBA: 0, DstLBA: 1000, Blocks: 300},
		{SrcLBA: 500, DstLBA: 1300, Blocks: 8},
	})
	if err != nil {
		log.Fatal(err) // refused as a whole
	}
	for _, failure := range result.Redo {
		fmt.Println("copy through the host:", failure.Piece, failure.Reason)
	}
	if err := devices[1].Flush(ctx, 0); err != nil {
		log.Fatal(err)
	}
	fmt.Println(result.Done, result.Commands, string(to[1000*512:1000*512+5]))
	// Output: [0+300->1000 500+8->1300] 2 hello
}
