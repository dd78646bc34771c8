// Package offload measures copies in a guest: what dmcopy adds to the commands
// that it issues. The disks are QEMU's, so that the figures compare ways of
// asking for a copy; they say nothing about the speed of hardware.
package offload

import (
	"flag"
	"os"
	"slices"
	"testing"

	"github.com/dmcopy/dmcopy/dispatch"

	"github.com/dmcopy/dmcopy/remap"
	"github.com/dmcopy/dmcopy/test/vm"
)

const (
	mib = 1 << 20
	gib = 1 << 30
)

// inFlight is the number of commands at a time, for everybody.
const inFlight = 8

var fast = vm.Disk{Serial: "fast", Size: 14 * gib, Copy: vm.CopyLimits{MSSRL: 2048, MCL: 16384, MSRC: 127}}

func TestMain(m *testing.M) {
	dispatch.Main()
	flag.Parse()
	if flag.Lookup("test.bench").Value.String() == "" {
		os.Exit(m.Run()) // there is nothing here but benchmarks: no guest is needed
	}
	vm.Main(m, vm.Machine{
		Programs: []string{"github.com/dmcopy/dmcopy/cmd/dmcopy"},
		Disks:    []vm.Disk{fast},
	})
}

// linear makes a volume of n sectors at sector start of the disk.
func linear(b *testing.B, name string, n, start remap.Sector) string {
	return vm.Linear(b, name, vm.Device(b, fast), start.Bytes(), n.Bytes())
}

func median(list []float64) float64 {
	list = slices.Sorted(slices.Values(list))
	return (list[(len(list)-1)/2] + list[len(list)/2]) / 2
}
