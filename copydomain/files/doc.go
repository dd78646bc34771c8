// Package files lets a file system copy between regular files, so that the data
// never crosses this machine: by sharing the blocks (FICLONERANGE), or by having a
// server copy them (copy_file_range(2)).
//
// The way of a copy through the package:
//
//	Look      which file system is a file on, and how does that copy
//	Span      can it copy from this file to that one
//	Open      both files; a Transport issues calls for them
//	Copier    issues them, and says of every byte what became of it
//
// [Loopback] is a pair of files in memory with injectable faults. It is part of
// the API so that other packages can test against it.
//
// # Which file systems
//
// Only those that are known to copy by themselves. On all others copy_file_range
// succeeds as well, but there it is a loop in the kernel that reads and writes the
// page cache (fs/splice.c, splice_file_range): the data crosses this machine, one
// page after the other, and holes of the source are filled. That is no offload.
// Nor is it used between file systems, which the kernel allowed from 5.3 to 5.18.
//
// # What is not here
//
// The package moves bytes where it is told to, and never beyond the end of a file.
// Whether the bytes arrived is the business of the caller; [Guard] is the place to
// assert where they go.
//
// All positions and lengths are bytes.
package files
