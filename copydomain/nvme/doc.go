// Package nvme lets an NVMe controller copy blocks inside a namespace, or from one
// of its namespaces to another, with the Copy command (opcode 19h), so that the
// data never crosses the host.
//
// The way of a copy through the package:
//
//	Open      a namespace by its kernel name; a Transport sends commands
//	Probe     Identify: is Copy there, with which limits, and if not, why not
//	CrossNamespaceSupport
//	          can blocks go from one namespace to another
//	Pack      pieces of one namespace into few commands within the limits
//	Copier    issues them, bounded in number and in time, and says of every
//	          block what became of it: done, to be redone, or fenced
//
// [Loopback] is a controller in memory with the manners of a real one and
// injectable faults. It is part of the API so that other packages can test
// against it.
//
// # Units
//
// All positions and lengths are logical blocks of the namespace (LBAs, counted
// from the start of the namespace, not of a partition) unless a name says bytes.
//
// # What is not here
//
// The package moves bytes where it is told to. Whether the LBAs are the right
// ones, whether anything holds the layout above, and whether the bytes arrived
// (read back and compare, flush) is the business of the caller; [Guard]
// is the place to assert the first.
//
// Descriptor formats 0 (within a namespace) and 2 (between namespaces, where the
// host has told the controller so: [HostBehavior]) are implemented, both without
// protection information. Formats 1 and 3, for guards of 32 and 64 bits, are known
// by name only: a namespace with any protection information is refused. Clause and
// figure numbers are those of the NVM Command Set Specification, revision 1.1;
// structures of the NVM Express Base Specification are cited by name and byte.
package nvme
