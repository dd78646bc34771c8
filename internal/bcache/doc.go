// Package bcache reads bcache devices and maps them onto their backing devices.
//
// A [Device] is what sysfs says of a device (drivers/md/bcache/sysfs.c), word
// for word: [Read] takes it from a running kernel, and it can be stored. Where
// its data begins is told by the superblock of the backing device only, which
// [ParseSuper] reads.
//
// The backing device is complete while nothing is in the cache alone: without a
// cache, or while the state is "clean" in a mode that writes to the backing
// device before a write is done. In mode writeback a device that is clean now
// may be dirty, and clean again, between two looks at it: it stays opaque.
// What is written below an attached cache would be hidden by what is in it.
package bcache
