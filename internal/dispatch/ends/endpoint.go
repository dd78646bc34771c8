package ends

import (
	"context"
	"errors"
	"io"
	"iter"
	"log/slog"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/emulation"
	"github.com/dmcopy/dmcopy/internal/blockio"
	"github.com/dmcopy/dmcopy/internal/dispatch/byterange"
	"github.com/dmcopy/dmcopy/internal/dispatch/failure"
	"github.com/dmcopy/dmcopy/internal/dispatch/freeze"
	"github.com/dmcopy/dmcopy/internal/sysblock"
	"github.com/dmcopy/dmcopy/remap"
)

// Endpoint is an opened source or destination.
type Endpoint struct {
	// Name is what the user typed.
	Name string
	// Dev is the block device; zero for a regular file.
	Dev remap.Dev
	// File is where a regular file is; nil for a block device.
	File *remap.Storage
	// Device reads and writes through the top.
	Device emulation.Device
	// Zones tells the zones of a device that is written in order, and is nil for any
	// other.
	Zones ZoneReporter
	// Holes tells where a regular file has holes, and is nil where that is not known.
	Holes HoleFinder
	// storage is the ID of what a loop device is stored in, if it is known.
	storage string
	// loops tells which loop devices on files it is, or rests on; nil for a regular file.
	loops func() ([]sysblock.StoredLoop, error)
	// mounted is the file system on it, if that is to be frozen.
	mounted *freeze.FileSystem
	// made is the file that was created to be this end, draft one without a name that
	// stands for it in a plan.
	made  *madeFile
	draft io.Closer
	// claims keep others from using it; nil if it is not claimed.
	claims *claims
	// used fails with ErrTaken if somebody uses a destination that nobody used when
	// it was opened, and with ErrSourceChanged if somebody may write to a source to which
	// nobody did; nil if that is not looked for.
	used func(context.Context, *slog.Logger) error
}

// StillUnused fails with [failure.ErrTaken] if somebody uses a destination that nobody used
// when it was opened, and with [failure.ErrSourceChanged] if somebody may write to a source to
// which nobody did then.
func (e Endpoint) StillUnused(ctx context.Context, log *slog.Logger) error {
	if e.used == nil {
		return nil
	}
	return failure.During("copy", e.used(ctx, log))
}

// storedIn tells whether the end is a loop device on the other end.
func (e Endpoint) storedIn(o Endpoint) bool { return e.storage != "" && e.storage == o.Device.ID() }

// Close lets the device or file go.
func (e Endpoint) Close() error {
	var errs []error
	if c, ok := e.Device.(io.Closer); ok {
		errs = append(errs, c.Close())
	}
	if e.mounted != nil {
		errs = append(errs, e.mounted.Close())
	}
	if e.draft != nil {
		errs = append(errs, e.draft.Close())
	}
	if e.claims != nil {
		errs = append(errs, e.claims.Close())
	}
	return errors.Join(errs...)
}

// InFile tells whether all of an end lies in a file: such an end has something to do
// with a file at the other end. Of other devices nothing has to be known for it.
func (e Endpoint) InFile() bool { return e.File != nil || strings.HasPrefix(e.storage, "file:") }

// ZoneReporter is a device with zones, which tells those that a range lies in.
type ZoneReporter interface {
	Zones(off, n int64) ([]blockio.Zone, error)
}

// HostManaged is the zone model of devices that enforce the order of writes.
const HostManaged = "host-managed"

// HoleFinder knows where the holes of a regular file are.
type HoleFinder interface {
	// At tells whether the file has a hole at byte off, and where that, or what is
	// none, ends: behind off.
	At(off int64) (hole bool, end int64, err error)
}

// Parts yields the parts of n bytes of a file from byte off on, counted from there, and whether each
// is a hole. A file whose answer is impossible is not asked again: the rest is no hole. Without a
// HoleFinder none of it is.
func Parts(file HoleFinder, off, n int64) iter.Seq2[byterange.Run, bool] {
	return func(yield func(byterange.Run, bool) bool) {
		for at := int64(0); at < n; {
			hole, part := false, n-at
			if file != nil {
				told, end, err := file.At(off + at)
				if m := min(end-(off+at), n-at); err == nil && m > 0 {
					hole, part = told, m
				}
			}
			if !yield(byterange.Run{Off: at, Len: part}, hole) {
				return
			}
			at += part
		}
	}
}

// holesOf makes a HoleFinder of a file if it can be relied on: what is a hole then is one on disk
// as well, because what was dirty has been written, see writtenBack.
func holesOf(file *emulation.File) HoleFinder {
	holes := file.Holes()
	if ok, err := holes.Known(); err != nil || !ok {
		return nil
	}
	return holes
}

// writtenBack writes what programs have written to a file to its storage, where it is read
// past the page cache. What could not be written there is what the copy would lack.
func writtenBack(name string, file *emulation.File) error {
	err := file.Sync()
	if err == nil || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EROFS) || errors.Is(err, errors.ErrUnsupported) {
		return nil // there is nothing to write, or nowhere to
	}
	return RefuseUnwritten(name, err)
}

// RefuseUnwritten refuses a source whose page cache could not be written back.
func RefuseUnwritten(name string, err error) error {
	return failure.Refuse(name, "holds what could not be written to its storage (%v), so that its storage and what programs read of it differ",
		"make room there, or see what is wrong with it (dmesg), have it written again, and copy then", failure.Errno(err))
}
