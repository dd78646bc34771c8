package sysfs

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/dmcopy/dmcopy/remap"
)

// Mount is one line of a mountinfo of /proc (proc_pid_mountinfo(5)).
type Mount struct {
	// ID is the mount's number, which no other one has in any namespace.
	ID uint64
	// Dev is the number that files of the file system report. File systems of
	// several devices and stacked ones use numbers that are no device's.
	Dev remap.Dev
	// Source is what was mounted: a path, or free text.
	Source string
	Point  string
	Type   string
	// Options are those of the file system, not those of the mount, separated by
	// commas.
	Options string
}

// Has tells whether an option is among those of the file system.
func (m *Mount) Has(option string) bool {
	return slices.Contains(strings.Split(m.Options, ","), option)
}

// ReadOnly tells that the file system as a whole is read-only. A read-only mount of a
// writable file system is not.
func (m *Mount) ReadOnly() bool { return m.Has("ro") }

// Mounts reads what this process sees.
func (r Root) Mounts() ([]Mount, error) { return r.MountsOf("proc/self") }

// MountsOf reads what a thread sees whose directory of /proc is given, below the root. See
// [ParseMounts].
func (r Root) MountsOf(task string) ([]Mount, error) {
	path := r.Path(task, "mountinfo")
	file, err := os.Open(path)
	if err != nil {
		return nil, &Error{path, err}
	}
	defer file.Close()
	mounts, err := ParseMounts(file)
	if err != nil {
		return mounts, &Error{path, err}
	}
	return mounts, nil
}

// ParseMounts reads lines. Beside an error, ErrValue for what is not understood, it
// gives what is: who looks for one mount may have found it.
func ParseMounts(r io.Reader) (mounts []Mount, err error) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		m, odd := parseMount(lines.Text())
		switch {
		case odd == nil:
			mounts = append(mounts, m)
		case err == nil: // one is enough to tell
			err = odd
		}
	}
	return mounts, errors.Join(err, lines.Err())
}

// parseMount reads one line:
//
//	36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue
//
// The fields up to the options are fixed, then any number of them follows up
// to the dash.
func parseMount(line string) (Mount, error) {
	head, tail, _ := strings.Cut(line, " - ")
	before, after := strings.Split(head, " "), strings.Split(tail, " ")
	if len(before) < 6 || len(after) != 3 {
		return Mount{}, fmt.Errorf("%w: line %q", ErrValue, line)
	}
	id, err := strconv.ParseUint(before[0], 10, 64)
	if err != nil {
		return Mount{}, fmt.Errorf("%w: line %q: %w", ErrValue, line, err)
	}
	dev, err := remap.ParseDev(before[2])
	if err != nil {
		return Mount{}, fmt.Errorf("%w: line %q: %w", ErrValue, line, err)
	}
	return Mount{ID: id, Dev: dev, Source: Unescape(after[1]), Point: Unescape(before[4]), Type: Unescape(after[0]), Options: after[2]}, nil
}

// Unescape undoes the octal escapes of space, tab, newline and backslash
// (fs/proc_namespace.c, mangle).
func Unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if c, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(c))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
