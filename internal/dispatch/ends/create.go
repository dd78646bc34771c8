package ends

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/emulation"
	"github.com/dmcopy/dmcopy/internal/blockio"
	"github.com/dmcopy/dmcopy/internal/dispatch/byterange"
	"github.com/dmcopy/dmcopy/internal/dispatch/failure"
	"github.com/dmcopy/dmcopy/internal/inuse"
	"github.com/dmcopy/dmcopy/internal/sysblock"
	"github.com/dmcopy/dmcopy/remap"
)

// CreateDestination makes a regular file of the length of the source, for a
// destination that OpenDestination reported as ErrMissing. The ranges are
// checked before, and returned as by [Ranges]. With opts.Dry, a file without a name
// stands for it. See [Endpoint.Discard].
func CreateDestination(ctx context.Context, sys sysblock.FS, name string, src Endpoint, ranges []byterange.Range, opts OpenOptions) (Endpoint, []byterange.Range, error) {
	end, ranges, err := createDestination(ctx, sys, name, src, ranges, opts)
	return end, ranges, unopened(sys, name, err)
}

func createDestination(ctx context.Context, sys sysblock.FS, name string, src Endpoint, ranges []byterange.Range, opts OpenOptions) (Endpoint, []byterange.Range, error) {
	if err := refuseCreation(name, opts.Create); err != nil {
		return Endpoint{}, nil, err
	}
	planned := Endpoint{Name: name, Device: plannedFile{size: src.Device.Size(), name: name}}
	ranges, err := Ranges(src, planned, ranges)
	if err != nil {
		return Endpoint{}, nil, refuseShort(name, err)
	}
	if src.mounted != nil {
		if err := RefuseFreeze(sys, src, planned, nil); err != nil {
			return Endpoint{}, nil, err
		}
	}
	if opts.Dry {
		dst, err := draft(name, planned)
		return dst, ranges, err
	}
	made, err := create(sys, name, src.Device.Size())
	if err != nil {
		return Endpoint{}, nil, err
	}
	dst, err := openCreated(ctx, sys, made)
	if err != nil {
		return Endpoint{}, nil, errors.Join(err, made.removeClosed())
	}
	return dst, ranges, nil
}

// openCreated opens the file that was made, if it still has the name.
func openCreated(ctx context.Context, sys sysblock.FS, made *madeFile) (Endpoint, error) {
	dst, err := OpenDestination(ctx, sys, made.name, OpenOptions{})
	if err == nil && dst.Device.ID() != made.id {
		err = failure.Refuse(made.name, "was replaced by something else after it was created", "choose a directory that others may not write to")
		return Endpoint{}, errors.Join(err, dst.Close())
	}
	dst.made = made
	return dst, err
}

// refuseCreation keeps a misspelt device from becoming a file.
func refuseCreation(name string, bare bool) error {
	missing := func(reason, way string) error {
		return &failure.Refusal{Thing: name, Reason: reason, Way: way, Kind: ErrMissing}
	}
	const check = "check the name (lsblk lists all devices)"
	const activate = check + ", or activate the volume first (lvchange --activate y)"
	if _, err := remap.ParseDev(name); err == nil {
		return missing("is the number of no device", check)
	}
	if strings.HasSuffix(name, "/") {
		return missing("cannot be found, and ends with a slash, as only a directory does", "leave the slash out")
	}
	dir, err := filepath.EvalSymlinks(filepath.Dir(name))
	if err != nil {
		way := check
		if volumeName(name) {
			way = activate
		}
		return missing(fmt.Sprintf("cannot be found, neither as a device nor as a file: there is no directory %s", filepath.Dir(name)), way)
	}
	if abs, err := filepath.Abs(dir); err != nil || within(abs, "/dev") && !within(abs, "/dev/shm") {
		return missing("does not exist", activate)
	}
	if !bare && !strings.Contains(name, "/") {
		return missing("cannot be found, neither as a device nor as a file", check+"; for a new file, write "+failure.ShellQuote("./"+name)+" or add --create")
	}
	return nil
}

// volumeName tells whether a name may be that of a volume which is not active: "vg/lv", or
// the link to its node, below a directory that udev removes with the last one of the group.
func volumeName(name string) bool {
	return within(name, "/dev") || strings.Count(name, "/") == 1 && !strings.HasPrefix(name, ".") && !strings.HasPrefix(name, "/")
}

func within(path, dir string) bool { return path == dir || strings.HasPrefix(path, dir+"/") }

// refuseShort says of a file that does not exist what Ranges says of one that does.
func refuseShort(name string, err error) error {
	var refusal *failure.Refusal
	if !errors.As(err, &refusal) || !errors.Is(err, failure.ErrRefused) || refusal.Thing != name {
		return err
	}
	return failure.Refuse(name, "does not exist, and with the length of the source it %s",
		"create it first, with the length that it needs: truncate --size=BYTES "+failure.ShellQuote(name), refusal.Reason)
}

// A madeFile is a file that was created to be written to, and how it was then.
type madeFile struct {
	sys      sysblock.FS
	name, id string
	size     int64
	written  unix.Timespec
}

// create makes a file of the given length, or none at all.
func create(sys sysblock.FS, name string, size int64) (*madeFile, error) {
	o := opener{name: name, path: name}
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.ENAMETOOLONG):
		return nil, failure.Refuse(name, "cannot be created: %v", "choose another name, or another directory", failure.Errno(err))
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		return nil, failure.Refuse(name, "cannot be created: there is no room for one more file in its file system (%v)",
			"remove some files, or choose another file system: the number of files has a limit, too (df --inodes)", failure.Errno(err))
	case err != nil:
		return nil, o.refuseUnopened(err)
	}
	var st unix.Stat_t
	err = errors.Join(stretch(name, f, size), unix.Fstat(int(f.Fd()), &st), f.Close())
	if err != nil {
		return nil, errors.Join(err, os.Remove(name))
	}
	return &madeFile{sys, name, fileID(&st), size, st.Mtim}, nil
}

// stretch gives a new file its length.
func stretch(name string, f *os.File, size int64) error {
	err := f.Truncate(size)
	if errors.Is(err, unix.EFBIG) {
		var limit unix.Rlimit
		if unix.Getrlimit(unix.RLIMIT_FSIZE, &limit) == nil && limit.Cur < uint64(size) {
			return failure.Refuse(name, "cannot be created: this process may write files of %d bytes at most, but the file needs %d (RLIMIT_FSIZE)",
				"raise the limit: ulimit -f unlimited, or LimitFSIZE= of the service", limit.Cur, size)
		}
		return failure.Refuse(name, "cannot be created: its file system does not allow files of %d bytes", "choose another file system", size)
	}
	return failure.During("open", err)
}

// unshared is a file that can be taken away from under its name as long as nobody else has
// it.
type unshared interface {
	ID() string
	Locks() blockio.Locks
}

// remove removes the file, by the descriptor that it may be locked with, unless it is
// another one by now, has been written to, or somebody else has it: a copy that has
// locked it, or any program that has it open for writing.
func (m *madeFile) remove(f unshared) (removed bool, err error) {
	asMade, err := m.asMade()
	if err != nil || !asMade || f.ID() != m.id {
		return false, failure.During("open", err)
	}
	uses, err := inuse.FileUsers(m.sys, m.name, m.id)
	if errors.Is(err, sysblock.ErrGone) || len(uses) > 0 {
		return false, nil
	}
	if err == nil {
		err = f.Locks().Alone(func() error {
			if asMade, err := m.asMade(); err != nil || !asMade {
				return err
			}
			removed = true
			return os.Remove(m.name)
		})
	}
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, blockio.ErrLocked), errors.Is(err, blockio.ErrNoLocks):
		return false, nil
	case err != nil:
		return false, failure.During("open", err)
	}
	return removed, nil
}

// asMade tells whether the name is still that of the file, to which nobody has written.
func (m *madeFile) asMade() (bool, error) {
	var st unix.Stat_t
	err := unix.Lstat(m.name, &st)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil && fileID(&st) == m.id && st.Size == m.size && st.Mtim == m.written, err
}

// removeClosed is remove for a file that is not open.
func (m *madeFile) removeClosed() error {
	f, err := blockio.Open(m.name, blockio.Write|blockio.Buffered)
	if err != nil {
		return nil // it is not what it was, or not there
	}
	_, err = m.remove(f)
	return errors.Join(err, f.Close())
}

// Created tells whether the end is a file that was made for the copy.
func (e Endpoint) Created() bool { return e.made != nil }

// Discard removes the file that was created for this end, if nobody has written to it
// and nobody else has it, and tells whether it did. It is for a copy that was refused,
// before the end is closed.
func (e Endpoint) Discard() (removed bool, err error) {
	if e.made == nil {
		return false, nil
	}
	f, ok := e.Device.(unshared)
	if !ok {
		return false, nil
	}
	return e.made.remove(f)
}

// draft makes a file without a name where the destination would be, so that a plan
// knows what its file system can do. Where the file system has no such files
// (open(2), O_TMPFILE), the plan does without.
func draft(name string, planned Endpoint) (Endpoint, error) {
	o := opener{name: name, path: filepath.Dir(name)}
	f, err := os.OpenFile(o.path, os.O_RDWR|unix.O_TMPFILE, 0o600)
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EISDIR) {
		if err := unix.Access(o.path, unix.W_OK); err != nil {
			return Endpoint{}, o.refuseUnopened(err)
		}
		return planned, nil
	}
	if err != nil {
		return Endpoint{}, o.refuseUnopened(err)
	}
	dst, err := draftEnd(name, f, planned.Device.Size())
	if err != nil {
		return Endpoint{}, errors.Join(err, f.Close())
	}
	return dst, nil
}

// draftEnd is the end that a file without a name is, which is closed with it.
func draftEnd(name string, f *os.File, size int64) (Endpoint, error) {
	if err := stretch(name, f, size); err != nil {
		return Endpoint{}, err
	}
	path := fmt.Sprintf("/proc/self/fd/%d", f.Fd()) // proc_pid_fd(5)
	file, err := emulation.Open(path, 0)
	if err != nil {
		return Endpoint{}, failure.During("open", err)
	}
	return Endpoint{Name: name, File: &remap.Storage{ID: file.ID(), Name: path}, Device: file, Holes: holesOf(file), draft: f}, nil
}

// plannedFile is a regular file that does not exist yet.
type plannedFile struct {
	emulation.Device
	size int64
	name string
}

func (f plannedFile) Size() int64    { return f.size }
func (f plannedFile) BlockSize() int { return 1 }
func (f plannedFile) WriteUnit() int { return 1 }
func (f plannedFile) ID() string     { return "planned:" + f.name }
func (f plannedFile) Name() string   { return f.name }
