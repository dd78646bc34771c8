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
