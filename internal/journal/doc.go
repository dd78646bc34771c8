// Package journal keeps what a copy has done in a file, so that a copy that was
// killed, or lost its machine, goes on where it was.
//
// The file is text. It begins with what the copy is between, and goes on with a
// map of the destination as GNU ddrescue writes it (manual, "Mapfile
// structure"), so that ddrescuelog and ddrescueview read it, too. It is replaced
// as a whole: whoever looks finds the old state or the new one. What it says to
// be done must have been made durable before it is written; that is for the
// caller to do.
//
// All offsets and lengths are bytes.
package journal
