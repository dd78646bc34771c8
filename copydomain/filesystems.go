package copydomain

import (
	"errors"
	"slices"

	"github.com/dmcopy/dmcopy/copydomain/files"
	"github.com/dmcopy/dmcopy/internal/sysfs"
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
// once. Servers are not asked: one that does not answer would keep the caller. A mount that is
// not understood is left out.
func SharingMounts() ([]FileSystem, error) {
	mounts, err := sysfs.Root("").Mounts()
	if err != nil && !errors.Is(err, sysfs.ErrValue) {
		return nil, err
	}
	var all []FileSystem
	for _, dir := range sharingMounts(mounts) {
		f := FileSystemOf(dir)
		if !slices.ContainsFunc(all, func(o FileSystem) bool { return o.Domain == f.Domain && f.Domain != "" }) {
			all = append(all, f)
		}
	}
	return all, nil
}

func sharingMounts(mounts []sysfs.Mount) (dirs []string) {
	for _, m := range mounts {
		if m.Type == "btrfs" || m.Type == "xfs" {
			dirs = append(dirs, m.Point)
		}
	}
	return dirs
}
