package blockio

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

var (
	// ErrAway means that the name of a regular file leads to it no more.
	ErrAway = errors.New("not under its name any more: it was removed, renamed or replaced")
	// ErrResized means that a regular file has not the length any more that it was
	// opened with.
	ErrResized = errors.New("its length was changed")
	// ErrModified means that a regular file was written to since it was opened.
	ErrModified = errors.New("it was written to meanwhile")
)

// Status tells what has become of a regular file since it was opened. Nothing becomes
// of a block device. It belongs to one who asks: others who have the same file open ask a
// Status of their own.
type Status struct {
	file *File
	seen unix.StatxTimestamp // when the status had changed last, as far as was asked
}

// Status is for somebody who asks for the first time.
func (f *File) Status() *Status { return &Status{f, f.opened.Ctime} }

func (s *Status) now() (now unix.Statx_t, err error) {
	err = s.file.Statx(0, &now)
	return now, err
}

// Whole tells whether a regular file is as long as when it was opened, at least:
// what is written behind its end would make it longer again, with a hole for what is
// lost. ErrResized.
func (s *Status) Whole() error {
	size, err := s.file.Size()
	if err == nil && !s.file.device && size < int64(s.file.opened.Size) {
		err = &Error{"fstat", s.file.path, fmt.Errorf("%w from %d to %d bytes", ErrResized, s.file.opened.Size, size)}
	}
	return err
}

// InPlace tells whether a regular file still has its name and its length. ErrAway,
// ErrResized.
func (s *Status) InPlace() error {
	if s.file.device {
		return nil
	}
	size, err := s.file.Size()
	switch {
	case err != nil:
		return err
	case size != int64(s.file.opened.Size):
		return &Error{"fstat", s.file.path, fmt.Errorf("%w from %d to %d bytes", ErrResized, s.file.opened.Size, size)}
	}
	return s.Named()
}

// Named tells whether the name of a regular file still leads to it. ErrAway.
func (s *Status) Named() error {
	var now unix.Statx_t
	err := unix.Statx(unix.AT_FDCWD, s.file.path, 0, unix.STATX_BASIC_STATS, &now)
	switch {
	case err == nil && fileID(&now) == s.file.id && (now.Nlink > 0 || s.file.opened.Nlink == 0): // names in /proc are those of open files
		return nil
	case err == nil, errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTDIR):
		return &Error{"stat", s.file.path, ErrAway}
	}
	return &Error{"stat", s.file.path, err}
}

// Unmodified tells whether a regular file has the length and the time of modification
// that it was opened with. ErrResized, ErrModified.
func (s *Status) Unmodified() error {
	if s.file.device {
		return nil
	}
	now, err := s.now()
	switch {
	case err != nil:
		return err
	case now.Size != s.file.opened.Size:
		return &Error{"statx", s.file.path, fmt.Errorf("%w from %d to %d bytes", ErrResized, s.file.opened.Size, now.Size)}
	case now.Mtime != s.file.opened.Mtime:
		return &Error{"statx", s.file.path, ErrModified}
	}
	return nil
}

// Changed tells whether the status of a regular file has changed since it was opened,
// or since the last time that this was asked here: its contents, mode, owner or names. Who writes to
// a file can put its time of modification back; nobody can put that of its status back.
func (s *Status) Changed() (bool, error) {
	if s.file.device {
		return false, nil
	}
	now, err := s.now()
	if err != nil {
		return false, err
	}
	changed := now.Ctime != s.seen
	s.seen = now.Ctime
	return changed, nil
}

// Touch gives a regular file another time of modification than it was opened with, as if it
// had been written to. Who may write to the file but does not own it may be unable to.
func (s *Status) Touch() error {
	if s.file.device {
		return nil
	}
	err := s.file.do("utimensat", func(fd int) error { return setModified(fd, unix.Timespec{Nsec: unix.UTIME_NOW}) })
	if err == nil && s.Unmodified() == nil { // the clock of files goes by steps
		const step = 2 // seconds: the coarsest that a file system knows
		later := unix.Timespec{Sec: s.file.opened.Mtime.Sec + step}
		err = s.file.do("utimensat", func(fd int) error { return setModified(fd, later) })
	}
	if errors.Is(err, unix.EPERM) {
		return nil
	}
	return err
}
