package files

import (
	"encoding/hex"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/internal/sysfs"
)

// Method is how a file system copies.
type Method uint8

const (
	// None: it does not.
	None Method = iota
	// Clone shares the blocks: FICLONERANGE.
	Clone
	// CopyRange has the server copy: copy_file_range(2).
	CopyRange
)

// Why two files are not copied by their file system.
const (
	ReasonFileSystem  = "domain:file-system"
	ReasonOtherSystem = "domain:different-file-systems"
)

// FileSystem is what a file is on.
type FileSystem struct {
	// Type is "btrfs", or the magic number of statfs(2) if the type is not known.
	Type string
	// Name tells one file system of a type from another.
	Name   string
	Method Method
	// Block is what positions and lengths of calls are multiples of, in bytes; 0
	// without a method.
	Block int
	// Reason and Detail say why there is no method.
	Reason, Detail string
}

// Domain names the file system.
func (f FileSystem) Domain() string { return f.Type + ":" + f.Name }

// page is the alignment of what servers are asked to copy, in bytes. They would
// take any, but then one page of the client's cache is written in two ways, which
// clients did not get right (fs/smb/client/cifsfs.c before Linux 6.8).
const page = 4096

// kind is a type of file system.
type kind struct {
	name string
	// ask finds out how a file system copies; nil if none of the type does.
	ask func(f *FileSystem, fd int, st *unix.Stat_t) error
}

// kinds are the types that are known, by the magic numbers of statfs(2). ZFS,
// bcachefs and OCFS2, which share blocks as well, have not been tried. Overlayfs and
// FUSE do what the file system or the process behind them does, and do not tell what
// that is: where it is nothing the kernel copies, and reports success.
var kinds = map[int64]kind{
	unix.BTRFS_SUPER_MAGIC:     {"btrfs", (*FileSystem).btrfs},
	unix.XFS_SUPER_MAGIC:       {"xfs", (*FileSystem).xfs},
	unix.NFS_SUPER_MAGIC:       {"nfs", (*FileSystem).nfs},
	unix.CIFS_SUPER_MAGIC:      {"cifs", (*FileSystem).server},
	unix.SMB2_SUPER_MAGIC:      {"smb", (*FileSystem).server},
	unix.FUSE_SUPER_MAGIC:      {"fuse", nil},
	unix.EXT4_SUPER_MAGIC:      {"ext4", nil},
	unix.F2FS_SUPER_MAGIC:      {"f2fs", nil},
	unix.TMPFS_MAGIC:           {"tmpfs", nil},
	unix.OVERLAYFS_SUPER_MAGIC: {"overlay", nil},

	// Those whose files the kernel makes, for the name.
	unix.PROC_SUPER_MAGIC:    {"proc", nil},
	unix.SYSFS_MAGIC:         {"sysfs", nil},
	unix.CGROUP_SUPER_MAGIC:  {"cgroup", nil},
	unix.CGROUP2_SUPER_MAGIC: {"cgroup2", nil},
	unix.DEBUGFS_MAGIC:       {"debugfs", nil},
	unix.TRACEFS_MAGIC:       {"tracefs", nil},
	unix.RAMFS_MAGIC:         {"ramfs", nil},
	unix.SQUASHFS_MAGIC:      {"squashfs", nil},
	unix.ISOFS_SUPER_MAGIC:   {"iso9660", nil},
	unix.MSDOS_SUPER_MAGIC:   {"vfat", nil},
	unix.EXFAT_SUPER_MAGIC:   {"exfat", nil},
}

// identify tells what an open file is on.
func identify(fd int, st *unix.Stat_t) (FileSystem, error) {
	var fs unix.Statfs_t
	if err := unix.Fstatfs(fd, &fs); err != nil {
		return FileSystem{}, err
	}
	k, known := kinds[int64(fs.Type)]
	if !known {
		k.name = fmt.Sprintf("%#x", uint32(fs.Type))
	}
	f := FileSystem{Type: k.name, Name: device(st)}
	if k.ask == nil {
		f.lacks("as far as dmcopy knows, %s cannot copy between files by itself", k.name)
		return f, nil
	}
	return f, k.ask(&f, fd, st)
}

func device(st *unix.Stat_t) string {
	return fmt.Sprintf("%d:%d", unix.Major(st.Dev), unix.Minor(st.Dev))
}

// lacks notes why there is no method.
func (f *FileSystem) lacks(format string, args ...any) {
	f.Method, f.Block, f.Reason, f.Detail = None, 0, ReasonFileSystem, fmt.Sprintf(format, args...)
}

// clones notes that blocks can be shared, if their size makes sense.
func (f *FileSystem) clones(block uint32) {
	if block < 512 || block > 1<<20 || block&(block-1) != 0 {
		f.lacks("%s has blocks of %d bytes", f.Type, block)
		return
	}
	f.Method, f.Block = Clone, int(block)
}

// btrfs: its subvolumes have device numbers of their own, and share blocks.
func (f *FileSystem) btrfs(fd int, _ *unix.Stat_t) error {
	info, err := askBtrfs(fd)
	if err != nil {
		return err
	}
	f.Name = hex.EncodeToString(info.FSID[:])
	f.clones(max(info.SectorSize, info.CloneAlignment))
	return nil
}

// xfs shares blocks if it was made so (mkfs.xfs -m reflink=1).
func (f *FileSystem) xfs(fd int, _ *unix.Stat_t) error {
	g, err := askXFS(fd)
	if err != nil {
		return err
	}
	f.Name = hex.EncodeToString(g.UUID[:])
	if f.clones(g.BlockSize); g.Flags&xfsReflink == 0 {
		f.lacks("this xfs was made without reflink")
	}
	return nil
}

// server: a server has the files, and may copy.
func (f *FileSystem) server(int, *unix.Stat_t) error {
	f.Method, f.Block = CopyRange, page
	return nil
}

// nfs has a call to copy since version 4.2.
func (f *FileSystem) nfs(fd int, st *unix.Stat_t) error {
	mounts, err := sysfs.Root("").Mounts()
	if err != nil {
		return err
	}
	if !copiesNFS(mounts, device(st)) {
		f.lacks("NFS copies files by itself from version 4.2 on")
		return nil
	}
	return f.server(fd, st)
}

// copiesNFS tells whether every mount of the device is NFS of a version that copies.
func copiesNFS(mounts []sysfs.Mount, device string) bool {
	found := false
	for i := range mounts {
		m := &mounts[i]
		if m.Dev.String() != device {
			continue
		}
		if m.Type != "nfs4" || !m.Has("vers=4.2") {
			return false
		}
		found = true
	}
	return found
}

// Span says how the file system of two files copies from one to the other. The
// result has a method, or a reason.
func Span(src, dst FileSystem) FileSystem {
	switch {
	case dst.Method == None:
		return dst
	case src.Method == None:
		return src
	case src != dst:
		f := FileSystem{Type: dst.Type, Name: dst.Name, Reason: ReasonOtherSystem}
		f.Detail = fmt.Sprintf("the files are on different file systems, %s and %s", src.Domain(), dst.Domain())
		return f
	}
	return dst
}
