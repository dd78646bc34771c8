package account

import "github.com/dmcopy/dmcopy/copydomain"

// Method says how a piece is copied.
type Method string

const (
	// NVMeCopy: the namespace copies by itself.
	NVMeCopy = Method(copydomain.NVMeCopy)
	// NVMeCopyXNS: a controller copies from one namespace to another.
	NVMeCopyXNS = Method(copydomain.NVMeCopyXNS)
	// FileReflink: two files share blocks.
	FileReflink = Method(copydomain.FileReflink)
	// FileCopyRange: the server of two files copies.
	FileCopyRange = Method(copydomain.FileCopyRange)
	// Host: read and written through the top of both stacks.
	Host Method = "host"
	// Zero: the source reads as zeroes and has no place; the destination is made to.
	Zero Method = "zero"
	// Skip: nothing is to be done.
	Skip Method = "skip"
)

// Offloads tells whether a device copies by itself.
func (m Method) Offloads() bool { return m != Host && m != Zero && m != Skip }

// fate is what becomes of bytes that are copied by the method.
func (m Method) fate() Fate {
	switch m {
	case Host:
		return ByHost
	case Zero:
		return Zeroed
	case Skip:
		return Skipped
	}
	return Offloaded
}
