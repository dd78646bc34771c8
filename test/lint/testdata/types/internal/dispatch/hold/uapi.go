package hold

import "unsafe"

// kernelStruct is as large as the kernel has it.
type kernelStruct struct{ a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p uint32 }

// otherStruct tells of one offset.
type otherStruct struct{ a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p uint32 }

// anyStruct is not said to be one of the kernel.
type anyStruct struct{ a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p uint32 }

const (
	_ = uint(unsafe.Sizeof(kernelStruct{})-64) + uint(64-unsafe.Sizeof(kernelStruct{}))
	_ = uint(unsafe.Offsetof(otherStruct{}.b)-4) + uint(4-unsafe.Offsetof(otherStruct{}.b))
)
