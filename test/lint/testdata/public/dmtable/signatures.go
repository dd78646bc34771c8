package dmtable

import "github.com/dmcopy/dmcopy/internal/boottime"

// Named has a name that others can use.
type Named = boottime.Instant

// Fine shows only what can be named.
func Fine(Named) boottime.Instant { return 0 }

func private(boottime.Limit) {}

// Function shows a type that cannot be named.
func Function(boottime.Limit) {}

// Method is one of a type.
func (Field) Method() *boottime.Limit { return nil }

// Field has one that shows it, and one that nobody sees.
type Field struct {
	Shown  boottime.Limit
	unseen boottime.Limit
}

// Interface has a method that shows it.
type Interface interface{ Do() boottime.Limit }

// Slice is made of it.
type Slice []boottime.Limit

// Constant is one.
var Constant boottime.Limit
