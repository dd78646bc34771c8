// Package thinmeta reads the metadata of a thin pool: which virtual blocks of
// a thin device lie in which blocks of the data device
// (drivers/md/dm-thin-metadata.c and drivers/md/persistent-data).
//
// Metadata are blocks of 4096 bytes. Block 0 is the superblock. It changes with
// every commit, and the blocks that an older one refers to are used again, so
// a pool in use is read through a metadata snapshot: the pool device takes the
// message reserve_metadata_snap, keeps a copy of the superblock with everything
// below it, and shows the block of the copy in its status line, until the
// message release_metadata_snap.
//
//	super, err := thinmeta.ReadSuper(r, heldRoot)
//	m, details, err := thinmeta.Device(r, super, id)
//
// Everything is verified on the way: checksum and number of each block, the
// order of the keys, and that nothing points out of the metadata or the data
// device.
//
// # Reading
//
// Every read starts at a multiple of 4096 bytes and is a multiple of 4096
// bytes long, up to 64 KiB. No read goes beyond the number of metadata blocks
// that the superblock tells. No promise is made for the address of the buffer in memory. The
// kernel writes metadata past the page cache: read them with O_DIRECT.
//
// A [Map] never changes and may be used by several goroutines at a time.
// Virtual blocks and data blocks are counted in blocks of
// [Super.DataBlockSize].
package thinmeta
