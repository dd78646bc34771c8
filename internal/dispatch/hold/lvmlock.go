package hold

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// defaultLockDir is where LVM keeps its locks unless global/locking_dir says
// otherwise (lvm.conf(5)).
const defaultLockDir = "/run/lock/lvm"

// lockRetry is how often a lock that is taken is tried again.
const lockRetry = 5 * time.Millisecond

// groupLocks are the shared locks of the volume groups of one window.
type groupLocks []*os.File

// Close releases the locks. LVM unlinks the file of a lock that nobody holds;
// a reader may leave that to the next writer.
func (l groupLocks) Close() error {
	var errs []error
	for _, f := range l {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}

// lockGroups takes the lock of every group, in the order given, which callers
// keep sorted so that two of them cannot wait for each other.
func lockGroups(ctx context.Context, dir string, groups []string, deadline time.Duration) (groupLocks, error) {
	ctx, cancel := context.WithTimeout(ctx, deadline)
	defer cancel()
	var locks groupLocks
	for _, group := range groups {
		f, err := lockGroup(ctx, dir, group)
		if err != nil {
			return nil, errors.Join(err, locks.Close())
		}
		locks = append(locks, f)
	}
	return locks, nil
}

// lockGroup takes the lock of an LVM volume group for reading, as the LVM
// tools do (lvm2, lib/misc/lvm-flock.c): every command that could change the
// group then waits, reports do not. It waits until ctx ends and then fails
// with ErrContended. Closing the file releases the lock.
func lockGroup(ctx context.Context, dir, group string) (*os.File, error) {
	path := filepath.Join(dir, "V_"+group)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fail("lvm lock", path, err)
	}
	for {
		f, err := tryLock(path)
		if err == nil || !errors.Is(err, unix.EWOULDBLOCK) {
			return f, fail("lvm lock", path, err)
		}
		select {
		case <-ctx.Done():
			return nil, fail("lvm lock", path, ErrContended)
		case <-time.After(lockRetry):
		}
	}
}

// tryLock takes the lock if nobody holds it for writing and nobody waits to.
// A waiting writer holds the auxiliary lock; letting it go first is what keeps
// a long copy from starving lvextend (global/prioritise_write_locks).
func tryLock(path string) (*os.File, error) {
	aux, err := flock(path+":aux", unix.LOCK_EX)
	if err != nil {
		return nil, err
	}
	if err := aux.Close(); err != nil {
		return nil, err
	}
	return flock(path, unix.LOCK_SH)
}

// flock opens and locks the file, and makes sure that the locked file is still
// the one with this name: a writer unlinks it when it unlocks.
func flock(path string, how int) (*os.File, error) {
	for {
		f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_RDWR, 0o600)
		if err != nil {
			return nil, err
		}
		named, err := lockNamed(f, path, how)
		if named {
			return f, nil
		}
		if err := errors.Join(err, f.Close()); err != nil {
			return nil, err
		}
	}
}

// lockNamed locks an open file, and tells whether it is the one with the name by then.
func lockNamed(f *os.File, path string, how int) (bool, error) {
	if err := unix.Flock(int(f.Fd()), how|unix.LOCK_NB); err != nil {
		return false, err
	}
	locked, err := f.Stat()
	if err != nil {
		return false, err
	}
	named, err := os.Stat(path)
	return err == nil && os.SameFile(locked, named), nil
}
