package layout

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/dmcopy/dmcopy/internal/blockio"
	"github.com/dmcopy/dmcopy/internal/sysblock"
)

// diskWait bounds one read of metadata. A device that is suspended keeps its
// readers waiting for as long as it likes.
const diskWait = 10 * time.Second

// syncWait bounds writing back a page cache, which may hold many gigabytes.
const syncWait = 10 * time.Minute

// errNoAnswer: a device did not answer in time.
var errNoAnswer = errors.New("no answer: is the device, or one below it, suspended?")

const (
	// diskBuffer is how much is read at a time, in bytes.
	diskBuffer = 256 << 10
	// diskAlign suits the blocks of every disk, in bytes.
	diskAlign = 4096
)

// onDisk reads metadata of layers past the page cache, where the kernel writes
// it. Offsets and lengths need no alignment. It is for one goroutine.
type onDisk struct {
	file   *blockio.File
	memory *blockio.Pool
	buf    []byte
	size   int64
	// lost: a call has not come back. The thread in it owns file and buf.
	lost bool
}

// openDisk opens the node of a device, which has to be that of the device. A machine
// that is kept below another root has files for nodes.
func openDisk(ctx context.Context, fs sysblock.FS, n *Node) (*onDisk, error) {
	open := func(path string) (*blockio.File, error) {
		return blockio.OpenDevice(path, n.Dev.Major, n.Dev.Minor, 0)
	}
	if fs != "" {
		open = func(path string) (*blockio.File, error) { return blockio.Open(path, 0) }
	}
	file, err := open(fs.Device(n.Name))
	if err != nil {
		return nil, err
	}
	memory, err := blockio.NewPool(1, diskBuffer)
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	buf, err := memory.Get(ctx)
	if err != nil {
		return nil, errors.Join(err, memory.Close(), file.Close())
	}
	return &onDisk{file: file, memory: memory, buf: buf, size: n.Size.Bytes()}, nil
}

// Close lets the device go, unless a call of it is still under way.
func (d *onDisk) Close() error {
	if d.lost {
		return nil
	}
	d.memory.Put(d.buf)
	return errors.Join(d.memory.Close(), d.file.Close())
}

// ReadAt implements [io.ReaderAt].
func (d *onDisk) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 || off > d.size {
		return 0, io.EOF
	}
	done := 0
	for done < len(p) {
		n, err := d.some(p[done:], off+int64(done))
		done += n
		if err != nil {
			return done, err
		}
	}
	return done, nil
}

// some reads the beginning of p.
func (d *onDisk) some(p []byte, off int64) (int, error) {
	start := off &^ (diskAlign - 1)
	skip := int(off - start)
	want := min((int64(skip+len(p))+diskAlign-1)&^(diskAlign-1), int64(len(d.buf)), d.size-start)
	if want <= int64(skip) {
		return 0, io.EOF
	}
	n, err := d.pread(d.buf[:want], start)
	if err != nil {
		return 0, err
	}
	if n <= skip {
		return 0, io.ErrUnexpectedEOF
	}
	return copy(p, d.buf[skip:n]), nil
}

// pread reads with a deadline.
func (d *onDisk) pread(buf []byte, off int64) (int, error) {
	return d.call(context.Background(), diskWait, "pread", func() (int, error) { return d.file.Pread(buf, off) })
}

// Sync has the page cache of the device written, with a deadline.
func (d *onDisk) Sync(ctx context.Context) error {
	_, err := d.call(ctx, syncWait, "fsync", func() (int, error) { return 0, d.file.Sync() })
	return err
}

// call waits for a system call, but no longer than it may take.
func (d *onDisk) call(ctx context.Context, wait time.Duration, op string, do func() (int, error)) (int, error) {
	silent := &blockio.Error{Op: op, Path: d.file.Path(), Err: errNoAnswer}
	if d.lost {
		return 0, silent
	}
	type result struct {
		n   int
		err error
	}
	answer := make(chan result, 1)
	go func() {
		n, err := do()
		answer <- result{n, err}
	}()
	deadline := time.NewTimer(wait)
	defer deadline.Stop()
	select {
	case r := <-answer:
		return r.n, r.err
	case <-ctx.Done():
		d.lost = true
		return 0, ctx.Err()
	case <-deadline.C:
		d.lost = true
		return 0, silent
	}
}
