// Package target is a SCSI target in user space for tests: a few disks with the third-party copy commands, above all
// token copies (ODX: POPULATE TOKEN, WRITE USING TOKEN), which no target of Linux has.
//
//	target.New      logical units in memory or in files
//	Target.Unit     a way to a unit for tests without a kernel, a [scsi.Transport]
//	iscsi.Serve     the same target over TCP, for a real initiator
//	Target.Inject   what goes wrong, and when
//
// The commands are decoded here, from the standards, and not with the code of copydomain/scsi: what that package encodes
// is checked by somebody else. Initiators that are not ours use the target as well: test/integration/foreign.
//
// Clause and table numbers are those of SPC-4 and SBC-3; integers on the wire are big-endian. Positions and lengths are
// logical blocks unless a name says bytes.
package target
