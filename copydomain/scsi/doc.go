// Package scsi lets a SCSI target copy blocks inside a logical unit, or between
// two of its logical units, with the EXTENDED COPY command (opcode 83h) or by
// tokens, so that the data never crosses the host.
//
// The way of a copy through the package:
//
//	Open      a disk by its kernel name; a Transport sends commands to it
//	Probe     INQUIRY, VPD pages, capacity, operating parameters: who is it, is
//	          EXTENDED COPY there, with which limits, and if not, why not
//	Span      can one command copy from this logical unit to that one
//	Pack      pieces into segments and few commands within the limits
//	Copier    issues them, bounded in number and in time, and says of every
//	          block what became of it: done, to be redone, or fenced
//
// Token copies (POPULATE TOKEN, WRITE USING TOKEN; also known as ODX) go the same way:
//
//	SpanTokens   does this logical unit take tokens of that one
//	TokenCopier  gets a token of the source, and shows it to the destination until
//	             all that it stands for is written; a token that has ended is
//	             replaced by a fresh one, a few times
//
// [Loopback] is a target in memory with the manners of real ones and injectable
// faults. It is part of the API so that other packages can test against it.
//
// # Units
//
// All positions and lengths are logical blocks of the logical unit (LBAs, counted
// from its start, not from that of a partition) unless a name says bytes.
//
// # What is not here
//
// The package moves bytes where it is told to. Whether the LBAs are the right
// ones, whether anything holds the layout above, and whether the bytes arrived
// (read back and compare, flush) is the business of the caller; [Guard] is the
// place to assert the first.
//
// Nothing is known of the progress of a command that failed: its sense data names
// a segment at best, and the target most in use (Linux, target_core_xcopy.c)
// names none. What a failed command was to copy is copied again as a whole.
//
// Clause and table numbers are those of SPC-4 and SBC-3; integers on the wire are
// big-endian.
package scsi
