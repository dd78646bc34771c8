package dmtable_test

import (
	"fmt"

	"github.com/dmcopy/dmcopy/dmtable"
	"github.com/dmcopy/dmcopy/remap"
)

// A table that dmsetup printed becomes a layer, which answers where sectors lie. What it does not
// understand is opaque, with a reason.
func ExampleTable_Layer() {
	table := &dmtable.Table{Targets: []dmtable.Target{
		{Start: 0, Len: 8192, Type: "linear", Params: "259:1 2048"},
		{Start: 8192, Len: 1024, Type: "novel", Params: "259:1 0"},
	}}
	layer := table.Layer()
	for _, at := range []remap.Sector{100, 8200} {
		place := layer.Map(remap.Read, at, 8)
		fmt.Printf("%v: %v @ %d, %q\n", place.Kind, place.Leg.Dev, place.Leg.Start, place.Reason)
	}
	// Output:
	// data: 259:1 @ 2148, ""
	// opaque: 0:0 @ 0, "layer:novel"
}
