// Package fakestack is a machine in memory: disks with volatile caches, mapped
// devices whose tables can be swapped at any moment, page caches, and holds. It
// implements machine.Machine, so that copies can be tested without a kernel and
// with everything that could go wrong placed at an exact point.
//
// What becomes of a sector is decided sector by sector, by recursion over the
// current tables ([Machine.walk]). That is slow and obviously right, and it is
// not how package remap resolves: the two check each other.
//
// Positions and lengths are sectors of 512 bytes unless a name says bytes.
package fakestack
