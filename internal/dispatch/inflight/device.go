package inflight

import "github.com/dmcopy/dmcopy/emulation"

// Watch has the calls of a device counted.
func (v *Calls) Watch(d emulation.Device, name string) emulation.Device { return watched{d, v, name} }

// watched is a device whose calls are counted.
type watched struct {
	emulation.Device
	calls *Calls
	name  string
}

// ReadAt implements [emulation.Device].
func (w watched) ReadAt(p []byte, off int64) (int, error) {
	defer w.calls.Begin("read", w.name, off)()
	return w.Device.ReadAt(p, off)
}

// WriteAt implements [emulation.Device].
func (w watched) WriteAt(p []byte, off int64) (int, error) {
	defer w.calls.Begin("write", w.name, off)()
	return w.Device.WriteAt(p, off)
}

// Async is how transfers are left to the kernel (see [emulation.Async]): they are under way like
// calls that do not return before the kernel has answered.
func (w watched) Async() emulation.Start {
	start := emulation.Async(w.Device)
	if start == nil {
		return nil
	}
	return func(write bool, off int64, n int) (emulation.Transfer, error) {
		op := "read"
		if write {
			op = "write"
		}
		over := w.calls.Begin(op, w.name, off)
		t, err := start(write, off, n)
		if err != nil {
			over()
			return t, err
		}
		end := t.End
		t.End = func(n int, err error) (int, error) {
			defer over()
			return end(n, err)
		}
		return t, nil
	}
}

// Zero implements [emulation.Device].
func (w watched) Zero(off, n int64) error {
	defer w.calls.Begin("zeroing", w.name, off)()
	return w.Device.Zero(off, n)
}

// Flush implements [emulation.Device].
func (w watched) Flush() error {
	defer w.calls.Begin("flush", w.name, NoOffset)()
	return w.Device.Flush()
}
