// Package layercopies copies with the program itself through every kind of
// layer, as a source and as a destination, and has the kind itself judge the
// result: an array checks its parity, a cipher is opened again, a pool is asked
// who holds its metadata.
package layercopies

import (
	"testing"

	"github.com/dmcopy/dmcopy/test/vm"
)

const (
	kib = 1 << 10
	mib = 1 << 20
)

// limits make several commands of a copy.
var limits = vm.CopyLimits{MSSRL: 2048, MCL: 8192, MSRC: 127}

// The disks. Everything that takes part in a copy lies on one namespace, so that
// nothing but layers can stand in the way of a copy by the disk itself.
var (
	leaf = vm.Disk{Serial: "leaf", Size: 1024 * mib, Copy: limits}
	// One namespace that shows as two disks: nobody makes a head of them.
	paths = vm.Disk{Serial: "paths", Size: 128 * mib, Copy: limits, Controllers: 2}
)

func TestMain(m *testing.M) {
	vm.Main(m, vm.Machine{
		// The kernel warns about much of what is made here.
		Cmdline:  "loglevel=3 nvme_core.multipath=N",
		Programs: []string{"github.com/dmcopy/dmcopy/cmd/dmcopy"},
		Disks:    []vm.Disk{leaf, paths},
	})
}
