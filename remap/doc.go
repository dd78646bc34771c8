// Package remap resolves ranges of stacked block devices down to extents on
// the devices below which nothing is mapped any more, the leaves.
//
// A [Stack] is a snapshot of devices. Each [Node] of it is either a leaf or
// carries a [Layer] which says where its sectors live on the devices below.
// [Stack.Resolve] remaps a range through every layer, [Pair] zips a source and
// a destination into pieces that are contiguous on both leaves, and
// [Stack.Changes] tells what became of the layout since a snapshot was taken.
//
// The package is pure: it performs no I/O, knows no kernel interface and
// imports nothing but the standard library. Everything in it is counted in
// sectors of 512 bytes, whatever the logical block size of a device.
package remap
