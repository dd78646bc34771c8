package emulation

// Start begins a transfer of up to n bytes at off that is left to the kernel. The error is that
// of ReadAt or WriteAt when it fails before anything is transferred. Like those it may be called
// concurrently, and may wait for locks and for what a system call of a moment takes.
type Start func(write bool, off int64, n int) (Transfer, error)

// Transfer is what is left to the kernel: a read or write at the offset that it was begun for.
type Transfer struct {
	FD  int // open at least until End
	Len int // bytes of it, from the offset on: at most as many as were asked for
	// End is called once, with what the kernel has answered; it returns what ReadAt or WriteAt
	// would have.
	End func(n int, err error) (int, error)
}

// Async returns how transfers of a device are left to the kernel, or nil if they can only be
// made by calling its methods. A device that has another one inside tells by a method Async how
// it does what its ReadAt and WriteAt do.
func Async(d Device) Start {
	if a, ok := d.(interface{ Async() Start }); ok {
		return a.Async()
	}
	return nil
}
