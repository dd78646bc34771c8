package inuse

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/dmcopy/dmcopy/internal/sysfs"
	"github.com/dmcopy/dmcopy/remap"
)

// flock is a lock of a whole file, as flock(2) takes them.
type flock struct {
	kind  UseKind
	pid   int
	dev   remap.Dev
	inode uint64
}

// flocks reads /proc/locks (fs/locks.c, lock_get_status). Those who wait for a lock are left
// out, and so are the holders that this process's namespace has no number for.
func flocks(root sysfs.Root) ([]flock, error) {
	path := root.Path("proc/locks")
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, sysfs.About(path, err)
	}
	locks, err := parseFlocks(string(text))
	if err != nil {
		return nil, sysfs.About(path, err)
	}
	return locks, nil
}

// parseFlocks reads lines like these, of which the second waits for the first:
//
//	1: FLOCK  ADVISORY  WRITE 708 fd:01:15204 0 EOF
//	1: -> FLOCK  ADVISORY  WRITE 709 fd:01:15204 0 EOF
func parseFlocks(text string) ([]flock, error) {
	var all []flock
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if len(words) < 2 || words[1] != "FLOCK" {
			continue
		}
		lock, err := parseFlock(words)
		if err != nil {
			return nil, fmt.Errorf("%w: line %q", sysfs.ErrValue, line)
		}
		all = append(all, lock)
	}
	return all, nil
}

func parseFlock(words []string) (lock flock, err error) {
	if len(words) < 6 {
		return lock, sysfs.ErrValue
	}
	where := strings.Split(words[5], ":")
	if len(where) != 3 {
		return lock, sysfs.ErrValue
	}
	var major, minor uint64
	lock.pid, err = strconv.Atoi(words[4])
	if err == nil {
		major, err = strconv.ParseUint(where[0], 16, 32)
	}
	if err == nil {
		minor, err = strconv.ParseUint(where[1], 16, 32)
	}
	if err == nil {
		lock.inode, err = strconv.ParseUint(where[2], 10, 64)
	}
	lock.kind = Locked
	if words[3] == "READ" {
		lock.kind = LockedRO
	}
	lock.dev = remap.Dev{Major: uint32(major), Minor: uint32(minor)}
	return lock, err
}

// locksOf lists the locks of a file. The number in a lock is that of the file system, which
// is what its mount has, and mostly what its files report (of btrfs, each subvolume has them
// report another one).
func locksOf(root sysfs.Root, file *openFile, mounts []Mount) ([]flock, error) {
	locks, err := flocks(root)
	devs := []remap.Dev{file.dev}
	if m := file.mount(mounts); m != nil {
		devs = append(devs, m.Dev)
	}
	return slices.DeleteFunc(locks, func(l flock) bool {
		return l.inode != file.inode || !slices.Contains(devs, l.dev)
	}), err
}
