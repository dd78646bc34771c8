package watch

import (
	"io/fs"

	"golang.org/x/sys/unix"
)

// polledFiles are the files of an array that wake who polls them (drivers/md/md.c,
// sysfs_notify). Arrays without redundancy have but the first.
var polledFiles = []string{"array_state", "sync_action", "degraded"}

// attribute is a file of sysfs. Polling reports a change since it was last read
// (fs/kernfs/file.c, kernfs_generic_poll).
type attribute struct {
	fd   int
	last string
}

func openAttribute(path string) (source, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	a := &attribute{fd: fd}
	if _, err := a.event(scope{}); err != nil {
		_ = a.Close()
		return nil, &fs.PathError{Op: "read", Path: path, Err: err}
	}
	return a, nil
}

func (a *attribute) name() string { return "md" }

func (a *attribute) poll() unix.PollFd { return unix.PollFd{Fd: int32(a.fd), Events: unix.POLLPRI} }

// event tells whether the file says something else than before.
func (a *attribute) event(scope) (bool, error) {
	buf := make([]byte, 64) // all of these are words or small numbers
	n, err := unix.Pread(a.fd, buf, 0)
	if err == unix.EINTR {
		return true, nil // and is polled again at once
	}
	if err != nil {
		return false, err
	}
	now := string(buf[:n])
	changed := now != a.last
	a.last = now
	return changed, nil
}

func (a *attribute) Close() error { return unix.Close(a.fd) }
