package ends

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/internal/dispatch/failure"
	"github.com/dmcopy/dmcopy/internal/sysblock"
)

// refuseNoName refuses what other programs take for a stream.
func refuseNoName(name string) error {
	if name != "-" {
		return nil
	}
	return failure.Refuse("-", "is neither a device nor a file: dmcopy reads and writes at any offset, and a pipe has no offsets",
		"name a device or a file (one that is called - is ./-), or use cat or dd for a pipe")
}

// tag is what mount(8) and fstab(5) take instead of a device.
var tag = regexp.MustCompile(`^(UUID|LABEL|PARTUUID|PARTLABEL|ID)=(.*)$`)

// tagDirs are where udev keeps links to what has a tag (60-persistent-storage.rules).
var tagDirs = map[string]string{
	"UUID": "by-uuid", "LABEL": "by-label", "PARTUUID": "by-partuuid", "PARTLABEL": "by-partlabel", "ID": "by-id",
}

// refuseMissing explains why a name means nothing.
func refuseMissing(name string, why error) error {
	if parts := tag.FindStringSubmatch(name); parts != nil {
		// A copy has the tags of its original: whoever copies has two of them.
		return failure.Refuse(name, "may be several devices: what was copied has the same "+parts[1],
			fmt.Sprintf("name one device: ls -l /dev/disk/%s shows where it leads now", tagDirs[parts[1]]))
	}
	if to, err := os.Readlink(name); err == nil {
		return failure.Refuse(name, "is a link to %s, which does not exist", "activate the volume, or name the device that you mean", to)
	}
	return &failure.Refusal{Thing: name, Reason: "cannot be found: " + why.Error(), Way: "check the name (lsblk lists all devices), or activate the volume first", Kind: ErrMissing}
}

// refuseForbidden explains a permission that was denied. Root is denied what is
// marked with chattr(1), and what the container does not have.
func refuseForbidden(name, path string, err error) error {
	file := path
	if isMissing(file) { // it is to be made
		file = filepath.Dir(path)
	}
	marked := func(what, flag string) error {
		return failure.Refuse(name, "cannot be written to: %s is %s", fmt.Sprintf("remove the attribute (chattr -%s %s), or choose another file", flag, failure.ShellQuote(file)), file, what)
	}
	switch attributes := inodeAttributes(file); {
	case attributes&unix.STATX_ATTR_IMMUTABLE != 0:
		return marked("immutable", "i")
	case attributes&unix.STATX_ATTR_APPEND != 0:
		return marked("append-only", "a")
	}
	if os.Geteuid() != 0 {
		return failure.Refuse(name, "cannot be opened: permission denied", "run as root")
	}
	if errors.Is(err, unix.EPERM) {
		return failure.Refuse(name, "cannot be opened: the kernel does not permit it, though you are root (%v)",
			"run outside of the container, or give it the device and its capabilities", failure.Errno(err))
	}
	return failure.Refuse(name, "cannot be opened: permission denied, though you are root (%v)",
		"check the permissions of all directories above it, and what the container or the security policy permits", failure.Errno(err))
}

// made are file systems whose files the kernel makes when they are read: their lengths
// tell nothing (include/uapi/linux/magic.h).
var made = map[int64]string{
	unix.PROC_SUPER_MAGIC: "proc", unix.SYSFS_MAGIC: "sysfs", unix.CGROUP_SUPER_MAGIC: "cgroup", unix.CGROUP2_SUPER_MAGIC: "cgroup2",
	unix.DEBUGFS_MAGIC: "debugfs", unix.TRACEFS_MAGIC: "tracefs", unix.SECURITYFS_MAGIC: "securityfs", unix.EFIVARFS_MAGIC: "efivarfs",
	unix.BPF_FS_MAGIC: "bpf", unix.PSTOREFS_MAGIC: "pstore",
}

// refuseMade refuses a regular file that is none.
func refuseMade(name, path string) error {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return failure.During("open", err)
	}
	if kind, ok := made[int64(st.Type)]; ok {
		return failure.Refuse(name, "is a file of %s, whose contents the kernel makes when somebody reads them", "use cat", kind)
	}
	return nil
}

// refuseWithoutSys explains that nothing is known of devices, and of who uses a file, where
// /sys is not.
func refuseWithoutSys(sys sysblock.FS, name string) error {
	if isMissing(string(sys.Root().Blocks())) {
		return failure.Refuse(name, "cannot be looked at: /sys is not there, and only /sys describes devices", "mount it (mount -t sysfs sysfs /sys), or give it to the container")
	}
	return nil
}

// WithoutSys is the refusal to look at a machine that has no /sys; nil if it has.
func WithoutSys(sys sysblock.FS) error { return refuseWithoutSys(sys, "the layout of this machine") }

// inodeAttributes are the marks of chattr(1), as far as the file system tells.
func inodeAttributes(path string) uint64 {
	var st unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, path, unix.AT_STATX_DONT_SYNC, 0, &st); err != nil {
		return 0
	}
	return st.Attributes
}
