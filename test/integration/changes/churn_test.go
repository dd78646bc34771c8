package changes

import (
	"errors"
	"math/rand/v2"
	"os"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/remap"
	"github.com/dmcopy/dmcopy/test/vm"
)

// writer writes stamps of a seed of its own to random places of a device.
type writer struct {
	t    *testing.T
	file *os.File
	size int64 // bytes
	unit int64 // bytes; what is written are one to three of them
	seed uint64
	rand *rand.Rand
	buf  []byte
	// burst is how many writes are done before a pause; 0 means no pauses.
	burst  int
	writes int
}

// foreign is the first seed of writers: whatever holds its stamps was not there
// when the copy began.
const foreign = 1 << 32

func newWriter(t *testing.T, path string, size, unit int64, seed uint64) *writer {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY|unix.O_DIRECT, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return &writer{
		t: t, file: f, size: size, unit: unit, seed: foreign + seed,
		rand: rand.New(rand.NewPCG(seed, 1)), buf: aligned(3 * unit),
	}
}

// aligned is memory for direct I/O.
func aligned(n int64) []byte {
	const align = 4096
	room := make([]byte, n+align)
	skip := -int64(uintptr(unsafe.Pointer(&room[0]))) & (align - 1)
	return room[skip : skip+n : skip+n]
}

// at writes one unit.
func (w *writer) at(off int64) {
	w.write(off, w.unit)
}

func (w *writer) write(off, n int64) {
	vm.FillStamp(w.buf[:n], w.seed, off)
	if _, err := w.file.WriteAt(w.buf[:n], off); err != nil {
		w.t.Errorf("write: %v", err)
	}
	w.writes++
}

// once writes somewhere. Places are multiples of 4 KiB: chunks are written in
// part, as whole and across their borders.
func (w *writer) once() {
	const step = 4096
	n := step * (1 + w.rand.Int64N(3*w.unit/step))
	w.write(step*w.rand.Int64N((w.size-n)/step+1), n)
}

// run writes until it is stopped. Pauses are the rhythm: nothing is waited for.
func (w *writer) run() (stop func()) {
	return repeat(func() {
		w.once()
		if w.burst > 0 && w.writes%w.burst == 0 {
			time.Sleep(100 * time.Millisecond)
		}
	})
}

// repeat does something again and again until it is stopped.
func repeat(what func()) (stop func()) {
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-quit:
				return
			default:
				what()
			}
		}
	}()
	return func() {
		close(quit)
		<-done
	}
}

// holds fails the test unless a device holds the stamps of a seed.
func holds(t *testing.T, path string, seed uint64, size int64) {
	t.Helper()
	if err := vm.TryStamp(path, seed, 0, 0, size); err != nil {
		t.Error(err)
	}
}

// readAt reads a part of a device past the page cache.
func readAt(path string, off, n int64) (_ []byte, err error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_DIRECT, 0)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	buf := aligned(n)
	_, err = f.ReadAt(buf, off)
	return buf, err
}

func sectors(bytes int64) int64 { return bytes / remap.SectorSize }

// hash is that of a whole device.
func hash(t *testing.T, path string, size int64) uint64 {
	t.Helper()
	sum, err := vm.Hash(path, 0, size)
	if err != nil {
		t.Fatal(err)
	}
	return sum
}

// same fails the test unless a device has a hash.
func same(t *testing.T, path string, want uint64, size int64) {
	t.Helper()
	if got := hash(t, path, size); got != want {
		t.Errorf("%s does not hold what it should", path)
	}
}
