// Package layout reads the stacks of this machine, stores them as JSON
// without secrets, and makes a remap.Stack of either: a stack that was
// captured resolves like the one it was captured from.
//
// A [Reader] also tells, quickly and without parsing tables, what changed
// since a stack was read.
package layout
