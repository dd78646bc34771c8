package blockio

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// Regular files are locked for others who keep to the same locks: QEMU, of which
// images are known, and other copies. All locks belong to the open file
// (F_OFD_SETLK, fcntl(2)), and end with it.
//
// QEMU locks single bytes for reading: one for each thing that it does to an image,
// and one for each that it does not share with others. Then it looks whether
// somebody else has locked a byte that forbids it (block/file-posix.c,
// raw_apply_lock_bytes and raw_check_lock_bytes).
const (
	imageDoes   = 100 // RAW_LOCK_PERM_BASE
	imageAlone  = 200 // RAW_LOCK_SHARED_BASE
	imageUnlock = 300 // where the bytes of images end

	// What is done, as offsets from these (include/block/block-common.h, BLK_PERM_*).
	imageRead      = 0 // reads what must not change meanwhile
	imageWrite     = 1
	imageUnchanged = 2 // writes what is there already
	imageResize    = 3
)

// Copies tell each other from QEMU by bytes far behind all data, and share a file if
// they write to different places of it.
const (
	// copyGate is locked by a copy while it takes the others, or takes the file's name away.
	copyGate = 1<<62 - 2
	// copyWrites is locked by a copy that has found nobody but copies.
	copyWrites = 1<<62 - 1
	// copyRanges is where byte 0 of what is written lies.
	copyRanges = 1 << 62
)

var (
	imageReader = []int64{imageDoes + imageRead, imageAlone + imageWrite, imageAlone + imageResize}
	imageWriter = []int64{imageDoes + imageWrite, imageAlone + imageRead, imageAlone + imageWrite, imageAlone + imageUnchanged, imageAlone + imageResize}
	// What others must not have locked.
	readerForbids = []int64{imageAlone + imageRead, imageDoes + imageWrite, imageDoes + imageResize}
	writerForbids = []int64{imageAlone + imageWrite, imageDoes + imageRead, imageDoes + imageWrite, imageDoes + imageUnchanged, imageDoes + imageResize}
)

var (
	// ErrLocked means that somebody else has locked the file.
	ErrLocked = errors.New("locked by another program")
	// ErrNoLocks means that the file system has no locks, for nobody.
	ErrNoLocks = errors.New("the file system has no locks")
)

// Locks are those of one open file.
type Locks struct{ file *File }

// Locks are taken and looked at by the file.
func (f *File) Locks() Locks { return Locks{f} }

// gateWait bounds the wait for another copy that takes its locks, which is a matter
// of a few system calls.
const gateWait = 2 * time.Second

// ToRead keeps a regular file from being written to by QEMU and other copies for
// as long as it is open. ErrLocked if somebody does, or holds a lock for writing
// anywhere in it; ErrNoLocks.
func (l Locks) ToRead() error {
	return l.take(func(fd int) error {
		if err := enterGate(fd, unix.F_RDLCK); err != nil {
			return err
		}
		defer lock(fd, unix.F_UNLCK, copyGate, 1)
		if err := vacant(fd, unix.F_RDLCK, 0, copyGate); err != nil {
			return err
		}
		for _, at := range imageReader {
			if err := lock(fd, unix.F_RDLCK, at, 1); err != nil {
				return err
			}
		}
		return unused(fd, readerForbids)
	})
}

// ToWrite claims a regular file for writing, for as long as it is open, before
// QEMU and everybody else who locks it, but not before other copies: see
// [Locks.Range]. ErrLocked, ErrNoLocks.
func (l Locks) ToWrite() error {
	return l.take(func(fd int) error {
		if err := enterGate(fd, unix.F_WRLCK); err != nil {
			return err
		}
		defer lock(fd, unix.F_UNLCK, copyGate, 1)
		for _, at := range imageWriter {
			if err := lock(fd, unix.F_RDLCK, at, 1); err != nil {
				return err
			}
		}
		if err := writable(fd); err != nil {
			return err
		}
		return lock(fd, unix.F_RDLCK, copyWrites, 1)
	})
}

// Alone calls remove if nobody else has locked the file at all. Copies that come
// meanwhile wait until it returns: what they have locked then may have lost its name. The
// file has to be open for writing. ErrLocked, ErrNoLocks, or the error of remove.
func (l Locks) Alone(remove func() error) error {
	var failed error
	err := l.take(func(fd int) error {
		if err := enterGate(fd, unix.F_WRLCK); err != nil {
			return err
		}
		defer lock(fd, unix.F_UNLCK, copyGate, 1)
		err := errors.Join(vacant(fd, unix.F_WRLCK, 0, copyGate), vacant(fd, unix.F_WRLCK, copyGate+1, 0)) // 0: whatever comes
		if err == nil {
			failed = remove()
		}
		return err
	})
	return errors.Join(err, failed)
}

// CheckToWrite looks whether [Locks.ToWrite] would succeed. It needs no file that
// is open for writing.
func (l Locks) CheckToWrite() error { return l.take(writable) }

// Range claims a run of bytes before other copies, in addition. ErrLocked.
func (l Locks) Range(off, n int64) error {
	return l.take(func(fd int) error {
		first, n := runOfCopy(off, n)
		return lock(fd, unix.F_WRLCK, first, n)
	})
}

// CheckRange looks whether [Locks.Range] would succeed, as CheckToWrite does.
func (l Locks) CheckRange(off, n int64) error {
	return l.take(func(fd int) error {
		first, n := runOfCopy(off, n)
		return vacant(fd, unix.F_WRLCK, first, n)
	})
}

// runOfCopy is where copies lock a run of bytes.
func runOfCopy(off, n int64) (first, bytes int64) {
	last := min(off+n-1, copyRanges-1) // all that is behind counts as one byte
	first = min(off, last)
	return copyRanges + first, last - first + 1
}

// take names errors, and tells those that say that there are no locks.
func (l Locks) take(call func(fd int) error) error {
	return l.file.do("lock", func(fd int) error {
		err := call(fd)
		for _, without := range []error{unix.EINVAL, unix.ENOLCK, unix.ENOSYS, unix.EOPNOTSUPP} {
			if errors.Is(err, without) {
				return fmt.Errorf("%w (%w)", ErrNoLocks, err)
			}
		}
		return err
	})
}

// enterGate waits until no other copy is taking its locks; those of readers do not
// exclude each other.
func enterGate(fd int, kind int16) error {
	for deadline := time.Now().Add(gateWait); ; time.Sleep(time.Millisecond) {
		err := lock(fd, kind, copyGate, 1)
		if err == nil || !errors.Is(err, ErrLocked) || time.Now().After(deadline) {
			return err
		}
	}
}

// writable tells whether nobody but copies has locked the file. Where there is one
// that writes, there is nobody else: it has looked, and who came later has found its
// locks.
func writable(fd int) error {
	if err := errors.Join(vacant(fd, unix.F_WRLCK, 0, imageDoes), vacant(fd, unix.F_WRLCK, imageUnlock, copyGate-imageUnlock)); err != nil {
		return err
	}
	err := unused(fd, writerForbids)
	if errors.Is(err, ErrLocked) && errors.Is(vacant(fd, unix.F_WRLCK, copyWrites, 1), ErrLocked) {
		return nil
	}
	return err
}

// unused tells whether nobody else has locked any of the bytes.
func unused(fd int, bytes []int64) error {
	for _, at := range bytes {
		if err := vacant(fd, unix.F_WRLCK, at, 1); err != nil {
			return err
		}
	}
	return nil
}

// lock locks or unlocks a run of bytes for the open file, or fails at once.
func lock(fd int, kind int16, off, n int64) error {
	l := unix.Flock_t{Type: kind, Start: off, Len: n}
	err := unix.FcntlFlock(uintptr(fd), unix.F_OFD_SETLK, &l)
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES) {
		return ErrLocked
	}
	return err
}

// vacant tells whether nobody else has a lock that one of the given kind would have
// to wait for.
func vacant(fd int, kind int16, off, n int64) error {
	l := unix.Flock_t{Type: kind, Start: off, Len: n}
	switch err := unix.FcntlFlock(uintptr(fd), unix.F_OFD_GETLK, &l); {
	case err != nil:
		return err
	case l.Type == unix.F_UNLCK:
		return nil
	case l.Pid > 0: // of a process, not of an open file
		return fmt.Errorf("%w (process %d)", ErrLocked, l.Pid)
	}
	return ErrLocked
}
