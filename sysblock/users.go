package sysblock

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/dmcopy/dmcopy/remap"
)

// UseKind says how a device is used.
type UseKind string

const (
	// MountedRW: a file system on it is mounted and may write.
	MountedRW UseKind = "mounted read-write"
	// MountedRO: a file system on it is mounted read-only.
	MountedRO UseKind = "mounted read-only"
	// Swap: it is swap space.
	Swap UseKind = "swap"
	// Held: another device is made of it.
	Held UseKind = "held"
	// Member: it belongs to a file system of several devices that is mounted
	// or was opened.
	Member UseKind = "member"
)

// Use is one use of a device.
type Use struct {
	Kind UseKind
	// Dev is the device that is used so: the one asked about, a partition of
	// it, or a device that is made of it.
	Dev  remap.Dev
	Name string // of Dev
	// Detail is the mount point, the holder, or the file system.
	Detail string
}

func (u Use) String() string { return u.Name + " is " + string(u.Kind) + ": " + u.Detail }

// Users lists who uses a device, directly or through its partitions and the
// devices that are made of it. An empty list is no proof that nobody does: a
// process may have the device open. That is for an exclusive open to find out.
func (f FS) Users(dev remap.Dev) ([]Use, error) {
	mounts, err := f.Mounts()
	if err != nil {
		return nil, err
	}
	swaps, err := f.Swaps()
	if err != nil {
		return nil, err
	}
	members, err := f.btrfsMembers()
	if err != nil {
		return nil, err
	}
	u := users{fs: f, seen: make(map[remap.Dev]bool)}
	u.direct = func(facts *Facts) {
		for _, m := range mounts {
			if m.Dev == facts.Dev || m.SourceDev == facts.Dev {
				u.add(m.kind(), facts, m.Point+" ("+m.Type+")")
			}
		}
		for _, s := range swaps {
			if s.Dev == facts.Dev {
				u.add(Swap, facts, s.Path)
			}
		}
		for _, id := range members[facts.Dev] {
			u.add(Member, facts, "btrfs "+id)
		}
	}
	if err := u.visit(dev); err != nil {
		return nil, err
	}
	return u.uses, nil
}

// users walks a device, its partitions and everything that is made of them.
type users struct {
	fs     FS
	direct func(*Facts)
	seen   map[remap.Dev]bool
	uses   []Use
}

func (u *users) add(kind UseKind, f *Facts, detail string) {
	u.uses = append(u.uses, Use{kind, f.Dev, f.Name, detail})
}

func (u *users) visit(dev remap.Dev) error {
	if u.seen[dev] {
		return nil
	}
	u.seen[dev] = true
	facts, err := u.fs.Facts(dev)
	if err != nil {
		return err
	}
	u.direct(facts)
	for _, holder := range facts.Holders {
		name, err := u.fs.name(holder)
		if err != nil {
			return err
		}
		u.add(Held, facts, name)
	}
	parts, err := u.fs.partitions(facts)
	if err != nil {
		return err
	}
	for _, upper := range append(parts, facts.Holders...) {
		if err := u.visit(upper); err != nil {
			return err
		}
	}
	return nil
}

// name is the kernel's name of a device.
func (f FS) name(dev remap.Dev) (string, error) {
	d, err := filepath.EvalSymlinks(f.path("sys/dev/block", dev.String()))
	if vanished(err) {
		err = ErrGone
	}
	if err != nil {
		return "", &Error{dev.String(), err}
	}
	return filepath.Base(d), nil
}

// partitions lists the partitions of a disk.
func (f FS) partitions(disk *Facts) ([]remap.Dev, error) {
	if disk.Part != nil {
		return nil, nil
	}
	d := f.path("sys/dev/block", disk.Dev.String())
	entries, err := os.ReadDir(d)
	if err != nil {
		return nil, &Error{disk.Name, err}
	}
	var parts []remap.Dev
	for _, entry := range entries {
		if !entry.IsDir() || !strings.HasPrefix(entry.Name(), disk.Name) {
			continue
		}
		part := dir(filepath.Join(d, entry.Name()))
		if is, err := part.has("partition"); err != nil || !is {
			if err != nil {
				return nil, &Error{disk.Name, err}
			}
			continue
		}
		dev, err := part.dev("dev")
		if err != nil {
			return nil, &Error{disk.Name, err}
		}
		parts = append(parts, dev)
	}
	sortDevs(parts)
	return parts, nil
}

// Mount is one line of /proc/self/mountinfo.
type Mount struct {
	// Dev is the number that files of the file system report. File systems of
	// several devices and stacked ones use numbers that are no device's.
	Dev remap.Dev
	// Source is what was mounted, SourceDev its number if it is a block device.
	Source    string
	SourceDev remap.Dev
	Point     string
	Type      string
	// ReadOnly tells that the file system as a whole is read-only. A read-only
	// mount of a writable file system is not.
	ReadOnly bool
}

func (m *Mount) kind() UseKind {
	if m.ReadOnly {
		return MountedRO
	}
	return MountedRW
}

// Mounts reads /proc/self/mountinfo (Documentation/filesystems/proc.rst, 3.5).
func (f FS) Mounts() ([]Mount, error) {
	path := f.path("proc/self/mountinfo")
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
		mounts[i].SourceDev = f.nodeDev(mounts[i].Source)
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
	dev, err := remap.ParseDev(before[2])
	if err != nil {
		return Mount{}, fmt.Errorf("%w: line %q: %w", ErrValue, line, err)
	}
	return Mount{
		Dev: dev, Source: unescape(after[1]), Point: unescape(before[4]), Type: unescape(after[0]),
		ReadOnly: hasOption(after[2], "ro"),
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

// SwapArea is one line of /proc/swaps.
type SwapArea struct {
	Path string
	// Dev is the device number if the area is a block device.
	Dev remap.Dev
}

// Swaps reads /proc/swaps, which a kernel without swap does not have.
func (f FS) Swaps() ([]SwapArea, error) {
	path := f.path("proc/swaps")
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, &Error{path, err}
	}
	defer file.Close()
	swaps, err := parseSwaps(file)
	if err != nil {
		return nil, &Error{path, err}
	}
	for i := range swaps {
		swaps[i].Dev = f.nodeDev(swaps[i].Path)
	}
	return swaps, nil
}

// parseSwaps reads the paths: the first word of each line but the first
// (mm/swapfile.c, swap_show).
func parseSwaps(r io.Reader) ([]SwapArea, error) {
	var swaps []SwapArea
	lines := bufio.NewScanner(r)
	for first := true; lines.Scan(); first = false {
		words := strings.Fields(lines.Text())
		switch {
		case first && (len(words) == 0 || words[0] != "Filename"), len(words) < 5:
			return nil, fmt.Errorf("%w: line %q", ErrValue, lines.Text())
		case !first:
			swaps = append(swaps, SwapArea{Path: unescape(words[0])})
		}
	}
	return swaps, lines.Err()
}

// btrfsMembers reads which devices belong to which btrfs, by uuid: mountinfo
// names but one of them.
func (f FS) btrfsMembers() (map[remap.Dev][]string, error) {
	links, err := filepath.Glob(f.path("sys/fs/btrfs/*/devices/*"))
	if err != nil {
		return nil, err
	}
	members := make(map[remap.Dev][]string)
	for _, link := range links {
		dev, err := dir(link).dev("dev")
		if vanished(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		id := filepath.Base(filepath.Dir(filepath.Dir(link)))
		members[dev] = append(members[dev], id)
	}
	return members, nil
}
