package nvme

import "fmt"

// Format is a source range descriptor format, the DESFMT field of Copy
// (NVM Command Set Specification, figures 39 and 40).
type Format uint8

// Descriptor formats. What tells 0 from 1, and 2 from 3, is the length of the
// protection information: this package sends only those without any, because
// there is no agreement on the byte order of its tags in a descriptor.
const (
	// Format0: within a namespace; no protection information or a 16 bit guard.
	Format0 Format = 0
	// Format1: within a namespace; a 32 or 64 bit guard.
	Format1 Format = 1
	// Format2: as Format0, from another namespace, which each range names.
	Format2 Format = 2
	// Format3: as Format1, from another namespace.
	Format3 Format = 3
	// Format4: from a memory namespace, which has no blocks.
	Format4 Format = 4
)

// Size is the length of a descriptor in bytes; 0 if this package does not know.
func (f Format) Size() int {
	switch f {
	case Format0, Format2:
		return RangeSize
	case Format1, Format3:
		return 40
	}
	return 0
}

func (f Format) String() string {
	switch f {
	case Format0:
		return "format 0"
	case Format1:
		return "format 1, for guards of 32 and 64 bits"
	case Format2:
		return "format 2, from another namespace"
	case Format3:
		return "format 3, from another namespace, for guards of 32 and 64 bits"
	case Format4:
		return "format 4, from a memory namespace"
	}
	return fmt.Sprintf("unknown format %d", uint8(f))
}

// Formats is a set of descriptor formats: bit n for format n, as in OCFS of
// Identify Controller and in CDFE of Host Behavior Support.
type Formats uint16

// Has tells whether a format is in the set.
func (s Formats) Has(f Format) bool { return s&(1<<f) != 0 }

// sent tells whether Encode makes lists of the format.
func (f Format) sent() bool { return f == Format0 || f == Format2 }

// formatOf is the DESFMT field, bits 11:8 of command dword 12.
func formatOf(c *Command) Format { return Format(c.CDW12 >> 8 & 0xF) }
