// Package dmtable reads live device-mapper tables and turns each target line
// into a layer of package remap.
//
// A [Control] asks the kernel through /dev/mapper/control, which needs
// CAP_SYS_ADMIN in the initial user namespace for every command. What it reads
// is a [Table], which can be stored as JSON and never holds a secret:
// parameters are kept for those target types only whose lines are known to be
// free of keys. [Table.Layer] maps the table.
//
// Positions and lengths are sectors of 512 bytes.
package dmtable
