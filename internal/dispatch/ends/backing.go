package ends

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/emulation"
	"github.com/dmcopy/dmcopy/internal/blockio"
	"github.com/dmcopy/dmcopy/internal/sysblock"
	"github.com/dmcopy/dmcopy/remap"
)

// What is in a loop device is in its file. The device shows neither that the file has lost its
// name, or its end, nor that somebody writes to it past the device; the file does.

// backing are the files of the loop devices that an end is, or rests on, as one copy has found them.
// Of nil there are none.
type backing struct {
	loops func() ([]sysblock.StoredLoop, error)
	log   *slog.Logger

	mu    sync.Mutex
	files map[place]*backingFile
}

// place is where a loop device lies.
type place struct {
	loop          remap.Dev
	id            string
	offset, limit uint64
}

// backingFile is what such a file was when it was first looked at.
type backingFile struct {
	*blockio.File
	status *blockio.Status
	named  bool   // durably
	loop   string // the kernel's name
	size   int64  // of what the device shows of it: up to there, in bytes
}

func backingOf(e Endpoint, log *slog.Logger) *backing {
	if e.loops == nil {
		return nil
	}
	return &backing{loops: e.loops, log: log, files: make(map[place]*backingFile)}
}

// look lets go of the files that nothing of the end is stored in any more, and begins with those
// that something is stored in by now. The lock is held.
func (b *backing) look() error {
	loops, err := b.loops()
	if err != nil {
		return err
	}
	now := make(map[place]*backingFile)
	for _, l := range loops {
		at := place{l.Dev, l.ID, l.Offset, l.Limit}
		if now[at] = b.files[at]; now[at] == nil {
			now[at] = b.open(&l)
		}
	}
	for at, f := range b.files {
		if now[at] == nil && f != nil {
			err = errors.Join(err, f.Close())
		}
	}
	b.files = now
	return err
}

// open is nil for a file that cannot be looked at.
func (b *backing) open(l *sysblock.StoredLoop) *backingFile {
	f, err := blockio.Look(l.File)
	if err == nil && f.ID() != l.ID {
		err = errors.Join(blockio.ErrAway, f.Close())
	}
	var size int64
	if err == nil {
		size, err = f.Size()
	}
	if err != nil {
		b.log.Debug("the file of a loop device cannot be looked at", "device", l.Name, "file", l.File, "error", err)
		return nil
	}
	return &backingFile{File: f, status: f.Status(), loop: l.Name, size: min(size, int64(l.Offset)+l.Size.Bytes())}
}

// each calls f for the files that can be looked at.
func (b *backing) each(f func(*backingFile) error) error {
	if b == nil {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, file := range b.files {
		if file == nil {
			continue
		}
		if err := f(file); err != nil {
			return err
		}
	}
	return nil
}

// empty tells whether there are no files that can be looked at.
func (b *backing) empty() bool {
	some := errors.New("there is one")
	return b.each(func(*backingFile) error { return some }) == nil
}

// whole tells whether all that the devices show of the files is still there. ErrResized.
func (b *backing) whole() error { return b.holds((*backingFile).whole) }

// inPlace is whole, and tells whether the files still have their names. ErrAway, ErrResized.
func (b *backing) inPlace() error {
	if b == nil {
		return nil
	}
	b.mu.Lock()
	err := b.look()
	b.mu.Unlock()
	if err != nil {
		return err
	}
	return b.holds(func(f *backingFile) error { return errors.Join(f.whole(), f.status.Named()) })
}

// syncNames makes the names of the files durable, once, as far as their directories can be opened.
func (b *backing) syncNames() error {
	return b.each(func(f *backingFile) error {
		if f.named {
			return nil
		}
		err := f.status.SyncName()
		if errors.Is(err, unix.EBADF) { // it was opened to be looked at only
			b.log.Debug("the name of the file of a loop device cannot be made durable", "file", f.Path(), "device", f.loop)
			err = nil
		}
		f.named = err == nil
		return f.called(err)
	})
}

// holds looks at the files, and once more at those that something is still stored in if there is
// anything wrong: what was moved elsewhere may well be removed.
func (b *backing) holds(f func(*backingFile) error) error {
	said := func(file *backingFile) error { return file.called(f(file)) }
	if b.each(said) == nil {
		return nil
	}
	b.mu.Lock()
	err := b.look()
	b.mu.Unlock()
	if err != nil {
		return err
	}
	return b.each(said)
}

func (f *backingFile) whole() error {
	size, err := f.Size()
	if err == nil && size < f.size {
		err = &blockio.Error{Op: "fstat", Path: f.Path(), Err: fmt.Errorf("%w from %d or more to %d bytes", blockio.ErrResized, f.size, size)}
	}
	return err
}

// written names a file whose status has changed since this was asked last, but none of others,
// which are written to anyway; "" if there is none. Nobody can write to a file without that,
// nor put it back; but a change of its mode, say, does the same.
func (b *backing) written(others map[string]bool) (name string, err error) {
	err = b.each(func(f *backingFile) error {
		if others[f.ID()] {
			return nil
		}
		changed, err := f.status.Changed()
		if changed {
			name = f.Path() + ", in which " + f.loop + " is stored,"
		}
		return f.called(err)
	})
	return name, err
}

// modified tells whether a file has another time of modification or length, but one of others.
func (b *backing) modified(others map[string]bool) (modified bool, err error) {
	err = b.each(func(f *backingFile) error {
		err := f.status.Unmodified()
		if errors.Is(err, blockio.ErrModified) || errors.Is(err, blockio.ErrResized) {
			modified = modified || !others[f.ID()]
			return nil
		}
		return f.called(err)
	})
	return modified, err
}

// called says of which file of which device an error is.
func (f *backingFile) called(err error) error {
	if err == nil {
		return nil
	}
	return named(f.Path()+", in which "+f.loop+" is stored", err)
}

// begin forgets how the files were before. One that has no name any more, or none in this namespace
// of mounts, cannot be looked at.
func (b *backing) begin() error {
	if b == nil {
		return nil
	}
	err := b.Close()
	b.mu.Lock()
	defer b.mu.Unlock()
	return errors.Join(err, b.look())
}

// Close lets go of the files.
func (b *backing) Close() error {
	if b == nil {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	var errs []error
	for _, f := range b.files {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	clear(b.files)
	return errors.Join(errs...)
}

// wholeDevice is a device that fails to be written to when what it is stored in is cut off: what is
// written behind the end of a file would make it longer again, with a hole for what is lost.
type wholeDevice struct {
	emulation.Device
	below *backing
}

// WriteAt implements [emulation.Device].
func (d wholeDevice) WriteAt(p []byte, off int64) (int, error) {
	if err := d.below.whole(); err != nil {
		return 0, err
	}
	n, err := d.Device.WriteAt(p, off)
	if err == nil {
		err = d.below.whole()
	}
	return n, err
}

// Async is how transfers are left to the kernel (see [emulation.Async]).
func (d wholeDevice) Async() emulation.Start {
	start := emulation.Async(d.Device)
	if start == nil {
		return nil
	}
	return func(write bool, off int64, n int) (emulation.Transfer, error) {
		if !write {
			return start(write, off, n)
		}
		if err := d.below.whole(); err != nil {
			return emulation.Transfer{}, err
		}
		t, err := start(write, off, n)
		if err != nil {
			return t, err
		}
		end := t.End
		t.End = func(n int, err error) (int, error) {
			n, err = end(n, err)
			if err == nil {
				err = d.below.whole()
			}
			return n, err
		}
		return t, nil
	}
}

// Zero implements [emulation.Device].
func (d wholeDevice) Zero(off, n int64) error {
	if err := d.below.whole(); err != nil {
		return err
	}
	return errors.Join(d.Device.Zero(off, n), d.below.whole())
}
