// Command dmcopy copies between block devices, and lets the devices copy by
// themselves wherever their layout and their hardware allow it.
package main

import (
	"os"

	"github.com/dmcopy/dmcopy/dispatch/freeze"
	"github.com/dmcopy/dmcopy/dispatch/hold"
)

func main() {
	// Helpers are this program again: nothing may come before them.
	if hold.IsHelper() {
		os.Exit(hold.HelperMain())
	}
	if freeze.IsHelper() {
		os.Exit(freeze.HelperMain())
	}
	crashLoudly()
	quit(run(os.Args[1:], streams{in: os.Stdin, out: os.Stdout, err: os.Stderr}))
}
