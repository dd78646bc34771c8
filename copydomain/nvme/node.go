package nvme

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/copydomain/blocks"
	"github.com/dmcopy/dmcopy/internal/sysfs"
)

// system is where device nodes are, and what the kernel says of devices.
type system struct {
	dev  string
	root sysfs.Root
}

var thisSystem = system{dev: "/dev"}

// Classes of sysfs, whose devices have nodes of the same names.
const (
	classBlock      = "block"
	classGeneric    = "nvme-generic"
	classController = "nvme"
)

// number is that of a device of the class, "MAJOR:MINOR".
func (s system) number(class, name string) (string, error) {
	return s.root.Class(class, name).Text("dev")
}

// open opens a node and makes sure that it is the device that the kernel has under
// the name: a node is a file, which says what somebody once wrote into it. While it
// is open its number is not given to another device, so the kernel is asked then.
func (s system) open(class, name string, flag int) (*os.File, error) {
	if _, err := s.number(class, name); err != nil {
		return nil, err
	}
	// O_NONBLOCK: a pipe under the name would wait for a writer.
	f, err := os.OpenFile(filepath.Join(s.dev, name), flag|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	found, err := nodeNumber(f, class == classBlock)
	if err != nil {
		f.Close()
		return nil, err
	}
	want, err := s.number(class, name)
	if err == nil && found != want {
		err = fmt.Errorf("%w: %s is device %s, and the kernel's %s is %s", blocks.ErrChanged, f.Name(), found, name, want)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// nodeNumber is what an open node is the node of.
func nodeNumber(f *os.File, block bool) (string, error) {
	conn, err := f.SyscallConn()
	if err != nil {
		return "", err
	}
	var st unix.Stat_t
	var errno error
	if err := conn.Control(func(fd uintptr) { errno = unix.Fstat(int(fd), &st) }); err != nil {
		return "", err
	}
	if errno != nil {
		return "", errno
	}
	want := uint32(unix.S_IFCHR)
	if block {
		want = unix.S_IFBLK
	}
	if st.Mode&unix.S_IFMT != want {
		return "", fmt.Errorf("%w: %s is no such device node", ErrNotNVMe, f.Name())
	}
	return fmt.Sprintf("%d:%d", unix.Major(st.Rdev), unix.Minor(st.Rdev)), nil
}

// kernelName is the name of a whole namespace: a partition (nvme0n1p1) has LBAs
// of its own, which passthrough does not translate, and a path (nvme0c1n1) has
// no device node.
var kernelName = regexp.MustCompile(`^nvme([0-9]+n[0-9]+)$`)

// controllerName is the name of a controller, whose character device takes admin
// commands. On a multipath head the kernel chooses the controller of each
// command; here it has no choice.
var controllerName = regexp.MustCompile(`^nvme[0-9]+$`)
