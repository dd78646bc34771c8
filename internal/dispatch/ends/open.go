package ends

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/emulation"
	"github.com/dmcopy/dmcopy/internal/blockio"
	"github.com/dmcopy/dmcopy/internal/dispatch/failure"
	"github.com/dmcopy/dmcopy/internal/sysblock"
	"github.com/dmcopy/dmcopy/remap"
)

// ErrMissing: there is no such device or file. It is an ErrRefused.
var ErrMissing = fmt.Errorf("%w: it does not exist", failure.ErrRefused)

// DefaultPatience is how long others are waited for unless Options say otherwise.
const DefaultPatience = 30 * time.Second

// OpenOptions say what is acceptable as an end of a copy.
type OpenOptions struct {
	// LiveSource accepts a source that somebody else may be writing to.
	LiveSource bool
	// Freeze accepts a source whose file system can be frozen, and none but that.
	Freeze bool
	// Dry opens a destination for reading only, after all checks.
	Dry bool
	// Create lets a name without a slash become that of a new file.
	Create bool
	// Beside is the other end, if it was opened before: what it has claimed is nobody
	// else's.
	Beside Endpoint
	// Patience bounds the wait for suspended devices; default [DefaultPatience].
	Patience time.Duration
}

// OpenSource finds a block device or regular file by any name that
// [sysblock.FS.Lookup] knows, and opens it for reading past the page cache. Unless
// the options accept that it changes, nobody else may write to it, and a block device is claimed
// as far as others have not claimed it for reading: nobody can mount it, or build another
// device on it, until the endpoint is closed. Nothing is read from a device
// that could hang. What is not acceptable is a [Refusal].
func OpenSource(ctx context.Context, sys sysblock.FS, name string, opts OpenOptions) (Endpoint, error) {
	end, err := openSource(ctx, sys, name, opts)
	return end, unopened(sys, name, err)
}

func openSource(ctx context.Context, sys sysblock.FS, name string, opts OpenOptions) (Endpoint, error) {
	o := &opener{sys: sys, name: name, patience: cmp.Or(opts.Patience, DefaultPatience)}
	if err := o.find(ctx); err != nil {
		return Endpoint{}, err
	}
	if opts.Freeze || opts.LiveSource {
		if err := o.refuseOwnOutput(); err != nil {
			return Endpoint{}, err
		}
	}
	if opts.Freeze {
		return freezing{o}.open(ctx)
	}
	if opts.LiveSource {
		return o.open(0)
	}
	end, err := o.openClaimed(opts.Beside, 0, func(c *claims) error { return o.claimStill(ctx, c) })
	end.used = sharing{o}.stillUnwritten
	return end, err
}

// OpenDestination is [OpenSource] for the end that is written to. A block
// device is claimed: nobody can mount it or build another device on it until
// the endpoint is closed. A regular file must exist; see [CreateDestination].
func OpenDestination(ctx context.Context, sys sysblock.FS, name string, opts OpenOptions) (Endpoint, error) {
	end, err := openDestination(ctx, sys, name, opts)
	return end, unopened(sys, name, err)
}

func openDestination(ctx context.Context, sys sysblock.FS, name string, opts OpenOptions) (Endpoint, error) {
	o := &opener{sys: sys, name: name, patience: cmp.Or(opts.Patience, DefaultPatience)}
	if err := o.find(ctx); err != nil {
		return Endpoint{}, err
	}
	mode := blockio.Write
	if opts.Dry {
		mode = 0
	}
	end, err := o.openClaimed(opts.Beside, mode, func(c *claims) error {
		if err := o.claimUnused(ctx, c); err != nil || !opts.Dry {
			return err
		}
		return o.refuseUnwritable()
	})
	end.used = sharing{o}.stillUnused
	return end, err
}

// openClaimed opens what could be claimed.
func (o *opener) openClaimed(beside Endpoint, mode blockio.Mode, claim func(*claims) error) (Endpoint, error) {
	c := beside.claims.share(o.sys)
	err := claim(c)
	var end Endpoint
	if err == nil {
		end, err = o.open(mode)
	}
	if err != nil {
		return Endpoint{}, errors.Join(err, c.Close())
	}
	end.claims = c
	return end, nil
}

// opener is an end on its way to being opened.
type opener struct {
	sys  sysblock.FS
	name string
	path string
	// patience bounds the wait for suspended devices.
	patience time.Duration
	// facts are those of a block device, nil for a regular file, which has an id
	// instead.
	facts *sysblock.Facts
	id    string
}

// find looks the name up and refuses what cannot be an end of any copy.
func (o *opener) find(ctx context.Context) error {
	if ctx.Err() != nil {
		return failure.Interrupted(ctx)
	}
	if err := refuseNoName(o.name); err != nil {
		return err
	}
	dev, err := o.sys.Lookup(o.name)
	if errors.Is(err, sysblock.ErrRegularFile) {
		o.path = o.name
		return o.findFile()
	}
	if err == nil {
		o.facts, err = o.sys.Facts(dev)
	}
	if err != nil {
		return o.refuseUnfound(err)
	}
	o.path = o.facts.Path()
	if o.facts.Size == 0 && o.facts.Unread == "" {
		return failure.Refuse(o.name, "has a size of 0", "insert a medium, or give the device a table")
	}
	return suspension{o}.awaitEnd(ctx)
}

// findFile notes which regular file it is that has the name.
func (o *opener) findFile() error {
	var st unix.Stat_t
	if err := unix.Stat(o.path, &st); err != nil {
		return o.refuseUnopened(err)
	}
	o.id = fileID(&st)
	return refuseMade(o.name, o.path)
}

// fileID is what blockio calls a file.
func fileID(st *unix.Stat_t) string {
	return fmt.Sprintf("file:%d:%d:%d", unix.Major(st.Dev), unix.Minor(st.Dev), st.Ino)
}

// refuseUnwritable finds out without opening for writing.
func (o *opener) refuseUnwritable() error {
	if err := unix.Access(o.path, unix.W_OK); err != nil {
		return o.refuseUnopened(err)
	}
	return nil
}

// open opens what was found, and makes sure that it is what was looked at.
func (o *opener) open(mode blockio.Mode) (Endpoint, error) {
	file, err := emulation.Open(o.path, mode)
	if err != nil {
		return Endpoint{}, o.refuseUnopened(err)
	}
	end := Endpoint{Name: o.name, Device: file}
	if o.facts == nil {
		end.File = &remap.Storage{ID: file.ID(), Name: absolute(o.path)}
		if err = writtenBack(o.name, file); file.ID() != o.id {
			err = o.replaced()
		}
		end.Holes = holesOf(file)
	}
	if o.facts != nil {
		end.Dev = o.facts.Dev
		end.loops = func() ([]sysblock.StoredLoop, error) { return o.sys.StoredBelow(end.Dev) }
		if o.facts.Zoned == HostManaged {
			end.Zones = file
		}
		err = o.refuseReplaced(file)
	}
	if o.facts != nil && err == nil {
		end.storage, err = o.storage()
	}
	if err != nil {
		return Endpoint{}, errors.Join(err, end.Close())
	}
	return end, nil
}

// absolute is the path as the kernel spells it, as far as that is known.
func absolute(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path
}

// storage is the ID of the file or device that a loop device is stored in; "" if
// it is none, or does not tell.
func (o *opener) storage() (string, error) {
	if o.facts.Kind != sysblock.Loop {
		return "", nil
	}
	l, err := o.sys.LoopFile(o.facts)
	if err != nil {
		return "", failure.During("open", err)
	}
	if l == nil {
		return "", nil
	}
	return l.ID, nil
}

// refuseReplaced compares the open descriptor with what was looked up. While
// it is open, its device number cannot be given to another device.
func (o *opener) refuseReplaced(file *emulation.File) error {
	again, err := o.sys.Facts(o.facts.Dev)
	if err != nil {
		return o.refuseUnfound(err)
	}
	if failure.TooManyFiles(again.Cause()) {
		return again.Cause()
	}
	same := file.ID() == "block:"+o.facts.Dev.String() && again.Name == o.facts.Name && again.DiskSeq == o.facts.DiskSeq
	if !same {
		return o.replaced()
	}
	if again.Unread != "" && again.Size == 0 {
		return nil // the kernel tells it to who has opened the device, and to nobody else
	}
	if file.Size() != again.Size.Bytes() {
		return failure.Refuse(o.name, "changed its size while it was opened", "try again")
	}
	return nil
}

// FindDevice finds the block device that a name means, for looking at it only.
// The errors are those of [OpenSource].
func FindDevice(sys sysblock.FS, name string) (remap.Dev, error) {
	dev, err := findDevice(sys, name)
	return dev, unopened(sys, name, err)
}

func findDevice(sys sysblock.FS, name string) (remap.Dev, error) {
	o := opener{sys: sys, name: name}
	if err := refuseNoName(name); err != nil {
		return remap.Dev{}, err
	}
	dev, err := sys.Lookup(name)
	if errors.Is(err, sysblock.ErrRegularFile) {
		return dev, failure.Refuse(name, "is a regular file", "name a block device")
	}
	if err != nil {
		return dev, o.refuseUnfound(err)
	}
	return dev, nil
}
