// Package exstore reads the exception store of a persistent device-mapper
// snapshot (drivers/md/dm-snap-persistent.c): which chunks of the origin have
// been copied to the copy-on-write device, and where they are there.
//
// The store lies on the copy-on-write device, all numbers little endian:
//
//	chunk 0             magic, valid, version, chunk size in sectors, 32 bits each
//	chunk 1+k·(n+1)     area k: n entries of 16 bytes, old chunk and new chunk
//	every other chunk   a copied chunk
//
// with n = chunk size in bytes / 16. The list ends at the first entry whose
// new chunk is 0; an area without one is followed by the next. The kernel
// appends to the list and, short of a merge, never takes anything away. It
// writes to a chunk of the origin only after the exception of that chunk is on
// disk. So who copies chunks from the origin and then finds, with
// [Store.Reread], that they have no exception yet has copied what the snapshot
// shows.
//
// # Reading
//
// Every read starts at a multiple of 4096 bytes and is a multiple of 4096
// bytes long, up to 64 KiB, whatever the chunk size. Only where the device
// ends between two such multiples does the last read end with the device, at
// a multiple of 512 bytes. No promise is made for the address of the buffer in
// memory. The kernel writes the store past the page cache: read it with
// O_DIRECT.
//
// A [Store] never changes and may be used by several goroutines at a time.
package exstore
