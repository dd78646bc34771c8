// Command copy copies one volume to another, as dmcopy copy does: by the disk where that is
// possible. It is an example of how a program uses package dispatch.
package main

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/dmcopy/dmcopy/dispatch"
)

func main() {
	dispatch.Main() // helpers that hold the layout still are this program, started again
	if len(os.Args) != 3 {
		log.Fatal("usage: copy SRC DST")
	}
	ctx := context.Background()
	job, err := dispatch.OpenJob(ctx, os.Args[1], os.Args[2], dispatch.OpenOptions{})
	if err != nil {
		log.Fatal(err)
	}
	defer job.Close()
	machine := dispatch.Local(nil)
	defer machine.Close()
	report, err := dispatch.New(machine).Copy(ctx, job, dispatch.Options{})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%d bytes by the disk, %d through this machine\n", report.Offloaded, report.Host)
}
