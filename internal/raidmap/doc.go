// Package raidmap is the arithmetic of RAID levels: which member of an array
// holds a sector, and where.
//
// A [Geometry] deals the sectors of an array to numbered slots. It knows no
// devices: positions on a member count from where the array's data begins on
// it. An [Array] puts members into the slots and is a [remap.Layer]. It
// decides what may be read below the array, and what may be written there.
//
// md arrays (drivers/md/raid*.c) and the raid target of device-mapper, which
// drives the same code, share it. The package performs no I/O. Everything in
// it is counted in sectors of 512 bytes.
package raidmap
