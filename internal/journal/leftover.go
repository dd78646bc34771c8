package journal

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	// newMark comes between the name of a file and what nobody guesses.
	newMark = ".new-"
	// newDigits is how many hexadecimal digits that is.
	newDigits = 16
)

// newName is what a file is called until it is complete: by a name that nothing else
// has by accident.
func newName(name string) string {
	var b [newDigits / 2]byte
	rand.Read(b[:]) // never fails
	return name + newMark + hex.EncodeToString(b[:])
}

// isNewName tells whether the name is one that a file of that name had until it was complete.
func isNewName(candidate, name string) bool {
	digits, found := strings.CutPrefix(candidate, name+newMark)
	if !found || len(digits) != newDigits || strings.ToLower(digits) != digits {
		return false
	}
	_, err := hex.DecodeString(digits)
	return err == nil
}

// removeLeftovers removes what a copy that was killed, or lost its power, has left beside
// the file, which is locked: so nobody is writing such a file now. What does not
// begin as a state does stays where it is.
func (d osDirectory) removeLeftovers(name string) error {
	names, err := d.list()
	if err != nil {
		return err
	}
	var errs []error
	for _, candidate := range names {
		if isNewName(candidate, name) {
			errs = append(errs, d.removeLeftover(candidate))
		}
	}
	return errors.Join(errs...)
}

func (d osDirectory) removeLeftover(name string) error {
	var st unix.Stat_t
	if unix.Fstatat(d.fd(), name, &st, unix.AT_SYMLINK_NOFOLLOW) != nil || trusted(&st) != nil {
		return nil
	}
	fd, err := unix.Openat(d.fd(), name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	if d.claim(f, name, &st) != nil || !beginsAsState(f) {
		return nil
	}
	return d.remove(name)
}

func beginsAsState(f io.Reader) bool {
	begin := make([]byte, len(magic))
	_, err := io.ReadFull(f, begin)
	return err == nil && bytes.Equal(begin, []byte(magic))
}

// list reads the names of the directory, by a descriptor of its own that begins at the first.
func (d osDirectory) list() ([]string, error) {
	fd, err := unix.Openat(d.fd(), ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), ".")
	defer f.Close()
	return f.Readdirnames(-1)
}
