package sysblock

import (
	"bufio"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/dmcopy/dmcopy/remap"
)

// Mount is one line of a mountinfo of /proc.
type Mount struct {
	// ID is the mount's number, which no other one has in any namespace.
	ID uint64
	// Dev is the number that files of the file system report. File systems of
	// several devices and stacked ones use numbers that are no device's.
	Dev remap.Dev
	// Source is what was mounted, SourceDev its number if it is a block device.
	Source    string
	SourceDev remap.Dev
	// SourceID is what package blockio calls a regular file that was mounted itself, without a
	// loop device (fs/erofs/super.c, erofs_fc_get_tree); "" for others.
	SourceID string
	Point    string
	Type     string
	// options are those of the file system, separated by commas.
	options string
	// ReadOnly tells that the file system as a whole is read-only. A read-only
	// mount of a writable file system is not.
	ReadOnly bool
	// Seer is a process that sees the mount at that point, zero for this one: others
	// can be in another mount namespace, or below another root.
	Seer Process
}

func (m *Mount) kind() UseKind {
	if m.ReadOnly {
		return MountedRO
	}
	return MountedRW
}

// Path is where it is mounted, below the root of [FS], as this process can open it.
func (m *Mount) Path() string { return filepath.Join("/", m.Seer.root(), m.Point) }

// where says for people where it is mounted.
func (m *Mount) where() string {
	if m.Seer.PID == 0 {
		return m.Point + " (" + m.Type + ")"
	}
	return m.Point + " (" + m.Type + ") in the mount namespace of " + m.Seer.String()
}

// Mounts reads /proc/self/mountinfo: what this process sees.
func (f FS) Mounts() ([]Mount, error) { return f.mountsAt("proc/self", Process{}) }

// AllMounts reads what is mounted in all mount namespaces, this one first. A
// namespace whose processes all are hidden from this one, or that no process is in, is
// not seen.
func (f FS) AllMounts() ([]Mount, error) {
	all, err := f.Mounts()
	if err != nil {
		return nil, err
	}
	tasks, err := f.tasks()
	if err != nil {
		return nil, err
	}
	seen := make(map[viewpoint]bool)
	if own, ok := f.viewpoint("proc/self"); ok {
		seen[own] = true
	}
	for _, task := range tasks {
		from, ok := f.viewpoint(task.dir)
		if !ok || seen[from] {
			continue
		}
		mounts, err := f.mountsAt(task.dir, f.process(task.pid))
		if hidden(err) {
			continue // another process may show the same
		}
		if err != nil {
			return nil, err
		}
		seen[from] = true
		all = append(all, mounts...)
	}
	return all, nil
}

// viewpoint is what decides which mounts a process sees: the kernel leaves out those
// that it cannot reach from its root (fs/proc_namespace.c, show_mountinfo).
type viewpoint struct{ namespace, root string }

func (f FS) viewpoint(task string) (viewpoint, bool) {
	namespace, err := os.Readlink(f.path(task, "ns/mnt"))
	if err != nil {
		return viewpoint{}, false
	}
	root, err := os.Readlink(f.path(task, "root"))
	return viewpoint{namespace, root}, err == nil
}

func (f FS) mountsAt(task string, seer Process) ([]Mount, error) {
	path := f.path(task, "mountinfo")
	file, err := os.Open(path)
	if err != nil {
		return nil, &Error{path, err}
	}
	defer file.Close()
	mounts, err := parseMounts(file)
	if err != nil {
		return nil, &Error{path, err}
	}
	for i := range mounts {
		m := &mounts[i]
		m.SourceDev, m.Seer = f.nodeDev(m.Source), seer
		m.SourceID = f.fileAt(m.Source, seer.root())
	}
	return mounts, nil
}

// nodeDev is the device number of a node, zero if the path is none. Sources
// of mounts are free text, so nothing that fails here is an error.
func (f FS) nodeDev(path string) remap.Dev {
	if !strings.HasPrefix(path, "/") {
		return remap.Dev{}
	}
	info, err := os.Stat(f.path(path))
	if err != nil || info.Mode()&fs.ModeDevice == 0 || info.Mode()&fs.ModeCharDevice != 0 {
		return remap.Dev{}
	}
	return rdev(info)
}

// fileAt is what package blockio calls the regular file that has a path below a root; ""
// if none has.
func (f FS) fileAt(path, root string) string {
	if !strings.HasPrefix(path, "/") {
		return ""
	}
	info, err := os.Stat(f.path(root, path))
	if err != nil || !info.Mode().IsRegular() {
		return ""
	}
	return idOf(info)
}

func parseMounts(r io.Reader) ([]Mount, error) {
	var mounts []Mount
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		m, err := parseMount(lines.Text())
		if err != nil {
			return nil, err
		}
		mounts = append(mounts, m)
	}
	return mounts, lines.Err()
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
	return Mount{
		ID: id, Dev: dev, Source: unescape(after[1]), Point: unescape(before[4]), Type: unescape(after[0]),
		ReadOnly: hasOption(after[2], "ro"), options: after[2],
	}, nil
}

func hasOption(options, want string) bool {
	for option := range strings.SplitSeq(options, ",") {
		if option == want {
			return true
		}
	}
	return false
}

// unescape undoes the octal escapes of space, tab, newline and backslash
// (fs/proc_namespace.c, mangle).
func unescape(s string) string {
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
