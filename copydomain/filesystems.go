package copydomain

import (
	"os"
	"slices"
	"strings"

	"github.com/dmcopy/dmcopy/copydomain/files"
	"github.com/dmcopy/dmcopy/remap"
)

// FileSystem is how files of a file system are copied to others of it.
type FileSystem struct {
	// Path is a file or directory of it, or a loop device that is stored there.
	Path string
	// Type is "btrfs", "ext4", …; empty if it is not known.
	Type string
	// Method, Reason, Detail, Domain and Block are as in [Pair].
	Method Method
	Reason remap.Reason
	Detail string
	Domain string
	Block  int
}

// FileSystemOf asks the file system of a file or directory of this machine.
func FileSystemOf(path string) FileSystem {
	found, err := files.LookAt(path)
	f := FileSystem{Path: path, Type: found.Type, Domain: found.Domain(), Block: found.Block, Reason: remap.Reason(found.Reason), Detail: found.Detail}
	switch {
	case err != nil:
		f.Domain = ""
		f.Reason, f.Detail = lost(err)
	case found.Method == files.Clone:
		f.Method = FileReflink
	case found.Method == files.CopyRange:
		f.Method = FileCopyRange
	}
	return f
}

// SharingMounts lists where file systems are mounted that may share blocks, each
// once. Servers are not asked: one that does not answer would keep the caller.
func SharingMounts() ([]FileSystem, error) {
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	var all []FileSystem
	for _, dir := range sharingMounts(string(text)) {
		f := FileSystemOf(dir)
		if !slices.ContainsFunc(all, func(o FileSystem) bool { return o.Domain == f.Domain && f.Domain != "" }) {
			all = append(all, f)
		}
	}
	return all, nil
}

// sharingMounts finds the directories in the list of mounts
// (proc_pid_mountinfo(5)).
func sharingMounts(mountinfo string) (dirs []string) {
	unescape := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
	for line := range strings.Lines(mountinfo) {
		fields := strings.Fields(line)
		_, rest, _ := strings.Cut(line, " - ")
		super := strings.Fields(rest)
		if len(fields) < 6 || len(super) < 2 || super[0] != "btrfs" && super[0] != "xfs" {
			continue
		}
		dirs = append(dirs, unescape.Replace(fields[4]))
	}
	return dirs
}
