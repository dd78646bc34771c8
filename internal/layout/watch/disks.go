package watch

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/remap"
)

// Change is what a uevent says of a device that it is about.
type Change struct {
	// Subsystem is that of the device, "block" or "nvme".
	Subsystem string
	// Dev is the number of a block device.
	Dev remap.Dev
}

// Disks are the uevents of all devices, for who looks after them from time to time. They wait in
// the kernel until then. The number of a device means the one that had it when the event was sent.
type Disks struct{ uevents *uevents }

var (
	// ErrLost: some uevents were lost, or could not be understood.
	ErrLost = errors.New("uevents were lost")
	// errUnheard: the kernel sends no uevents here.
	errUnheard = errors.New("uevents of devices are not sent to this network namespace")
)

// OpenDisks begins to listen.
func OpenDisks() (*Disks, error) {
	if err := heard("/proc/self/ns/net"); err != nil {
		return nil, fmt.Errorf("watch: %w", err)
	}
	s, err := openUevents()
	if err != nil {
		return nil, fmt.Errorf("watch: %w", err)
	}
	return &Disks{s.(*uevents)}, nil
}

// initialUserNS is the inode of the initial user namespace (include/linux/proc_ns.h, PROC_USER_INIT_INO).
const initialUserNS = 0xEFFFFFFD

// heard fails where a socket for uevents can be had and stays silent: they are sent to the network
// namespaces only that belong to the initial user namespace (lib/kobject_uevent.c, uevent_net_init).
func heard(network string) error {
	ns, err := os.Open(network)
	if err != nil {
		return err
	}
	defer ns.Close()
	owner, err := unix.IoctlRetInt(int(ns.Fd()), unix.NS_GET_USERNS)
	if err != nil {
		return os.NewSyscallError("NS_GET_USERNS", err)
	}
	defer unix.Close(owner)
	var st unix.Stat_t
	if err := unix.Fstat(owner, &st); err != nil {
		return os.NewSyscallError("fstat", err)
	}
	if st.Ino != initialUserNS {
		return errUnheard
	}
	return nil
}

// mostChanges is how many are taken at a time. The socket does not hold as many.
const mostChanges = 1 << 16

// Take returns what was sent since the last call, once for each device, and does not wait. With ErrLost
// some is missing, which can be about any device. After another error there are no more.
func (d *Disks) Take() ([]Change, error) {
	var changes []Change
	seen := make(map[Change]bool)
	unclear := false
	empty, lost, err := d.uevents.drain(mostChanges, func(msg []byte, flags int, from unix.Sockaddr) {
		c, concerns, err := changeOf(msg, flags, from)
		unclear = unclear || err != nil
		if concerns && !seen[c] {
			seen[c] = true
			changes = append(changes, c)
		}
	})
	if err == nil && (lost || unclear || !empty) {
		err = ErrLost
	}
	return changes, err
}

// changeOf reads a message. Those that a program asked for are about nothing that has happened, and what does
// not come from the kernel is none.
func changeOf(msg []byte, flags int, from unix.Sockaddr) (c Change, concerns bool, err error) {
	if kernel, ok := from.(*unix.SockaddrNetlink); !ok || kernel.Pid != 0 {
		return c, false, nil
	}
	if flags&unix.MSG_TRUNC != 0 {
		return c, false, ErrLost
	}
	u, err := parseUevent(msg)
	if err != nil {
		return c, false, err
	}
	return Change{u.subsystem, u.dev}, u.subsystem != "" && !u.synthetic, nil
}

// Close ends listening.
func (d *Disks) Close() error { return d.uevents.Close() }
