// Command dmcopy copies between block devices, and lets the devices copy by
// themselves wherever their layout and their hardware allow it.
package main

import (
	"os"

	"github.com/dmcopy/dmcopy/dispatch"
)

func main() {
	// Helpers are this program again: nothing may come before them.
	dispatch.Main()
	abortOnPanic()
	quit(run(os.Args[1:], streams{in: os.Stdin, out: os.Stdout, err: os.Stderr}))
}
