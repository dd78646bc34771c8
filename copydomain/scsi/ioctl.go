package scsi

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/copydomain/blocks"
	"github.com/dmcopy/dmcopy/internal/boottime"
)

// File is a Transport over the SG_IO ioctl. Several commands may be in flight at
// once; each occupies a thread.
type File struct {
	f            *os.File
	major, minor uint32
	writable     bool
}

var _ Transport = (*File)(nil)

// kernelName is the name of a whole disk, or of the generic device of one. LBAs
// are those of the logical unit, also when sent to a partition, so partitions are
// not opened at all.
var kernelName = regexp.MustCompile(`^(sd[a-z]+|sg[0-9]+)$`)

// Open opens the disk with the kernel name name ("sda"), or the generic device of
// one ("sg0"). Commands that write need write: the kernel lets root send them over
// a read-only descriptor as well, this package does not. Both kinds of devices ask
// for CAP_SYS_RAWIO to send EXTENDED COPY (drivers/scsi/scsi_ioctl.c,
// scsi_cmd_allowed).
//
// A name can pass to another device at any time: identify the logical unit through
// the Transport before trusting it. The open descriptor stays with its device.
func Open(name string, write bool) (*File, error) {
	return openIn("/dev", name, write)
}

func openIn(dev, name string, write bool) (*File, error) {
	if !kernelName.MatchString(name) {
		return nil, opError("open", name, ErrNotSCSI)
	}
	// O_NONBLOCK: do not wait for a disk without a medium.
	flag := os.O_RDONLY | unix.O_NONBLOCK
	if write {
		flag = os.O_RDWR | unix.O_NONBLOCK
	}
	f, err := os.OpenFile(filepath.Join(dev, name), flag, 0)
	if err != nil {
		return nil, opError("open", name, err)
	}
	file, err := NewFile(f)
	if err != nil {
		f.Close()
		return nil, err
	}
	return file, nil
}

// NewFile wraps an open disk or generic device, which it then owns. It fails with
// [ErrNotSCSI] for anything else: other block drivers, device-mapper above all,
// know SG_IO too and hand it on to a disk of their choice.
func NewFile(f *os.File) (*File, error) {
	t := &File{f: f}
	err := t.control(func(fd uintptr) error {
		var st unix.Stat_t
		if err := unix.Fstat(int(fd), &st); err != nil {
			return err
		}
		flags, err := unix.FcntlInt(fd, unix.F_GETFL, 0)
		if err != nil {
			return err
		}
		t.writable = flags&unix.O_ACCMODE == unix.O_RDWR
		t.major, t.minor = unix.Major(st.Rdev), unix.Minor(st.Rdev)
		if !isSCSI(st.Mode, t.major, t.minor) {
			return ErrNotSCSI
		}
		return nil
	})
	if err != nil {
		return nil, opError("open", f.Name(), err)
	}
	return t, nil
}

// isSCSI tells whole disks and generic devices from everything else.
func isSCSI(mode, major, minor uint32) bool {
	switch mode & unix.S_IFMT {
	case unix.S_IFCHR:
		return major == majorGeneric
	case unix.S_IFBLK:
		return minor%diskMinors == 0 && (major == majorDisk0 ||
			major >= majorDisk1 && major <= majorDisk7 || major >= majorDisk8 && major <= majorDisk15)
	}
	return false
}

// Device is the number of the device that was opened.
func (t *File) Device() (major, minor uint32) { return t.major, t.minor }

// Close closes the descriptor. Commands in flight keep the device open until they
// come back.
func (t *File) Close() error { return opError("close", t.f.Name(), t.f.Close()) }

// Do implements Transport.
func (t *File) Do(ctx context.Context, c *Command) (Completion, error) {
	if err := check(c); err != nil {
		return Completion{}, t.refused(err)
	}
	if c.writes() && !t.writable {
		return Completion{}, t.refused(fmt.Errorf("%w: opcode %02xh over a read-only descriptor", blocks.ErrNotAllowed, c.CDB[0]))
	}
	if err := ctx.Err(); err != nil {
		return Completion{}, t.refused(err)
	}
	completion, err := t.sgio(c)
	return completion, t.answer(err)
}

func (t *File) refused(err error) error {
	return opError("command", t.f.Name(), fmt.Errorf("%w: %w", blocks.ErrNotIssued, err))
}

// answer marks the errors after which the device cannot have the command.
func (t *File) answer(err error) error {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		if _, ok := notIssued[errno]; ok {
			return t.refused(err)
		}
	}
	return opError("command", t.f.Name(), err)
}

// maxSense is the longest sense data (SPC-4, 4.5.1), and what mx_sb_len can say.
const maxSense = 252

// sgio sends the command. The kernel sees addresses as numbers only, so what they
// point to is kept in place.
func (t *File) sgio(c *Command) (Completion, error) {
	var pin runtime.Pinner
	defer pin.Unpin()
	sense := new([maxSense]byte)
	pin.Pin(sense)
	hdr := &sgIOHdr{
		interfaceID:    'S',
		dxferDirection: dxferNone,
		cmdLen:         uint8(len(c.CDB)),
		mxSbLen:        maxSense,
		dxferLen:       uint32(len(c.Data)),
		cmdp:           pinned(&pin, c.CDB),
		sbp:            uintptr(unsafe.Pointer(sense)),
		timeout:        milliseconds(c.Timeout),
	}
	if len(c.Data) > 0 {
		hdr.dxferp = pinned(&pin, c.Data)
		hdr.dxferDirection = dxferFromDev
		if c.toDevice() {
			hdr.dxferDirection = dxferToDev
		}
	}
	if err := t.control(func(fd uintptr) error { return ioctl(fd, hdr, c.NotAfter) }); err != nil {
		return Completion{}, err
	}
	return Completion{
		Status: Status(hdr.status),
		Sense:  append([]byte(nil), sense[:min(int(hdr.sbLenWr), maxSense)]...),
		Host:   hdr.hostStatus,
		Driver: hdr.driverStatus,
		Resid:  int(hdr.resid),
	}, nil
}

// control keeps the descriptor from being closed, and its number from being used
// for another device, while f lasts.
func (t *File) control(f func(fd uintptr) error) error {
	conn, err := t.f.SyscallConn()
	if err != nil {
		return fmt.Errorf("%w: %w", blocks.ErrNotIssued, err)
	}
	var inner error
	if err := conn.Control(func(fd uintptr) { inner = f(fd) }); err != nil { // only of a closed file
		return fmt.Errorf("%w: %w", blocks.ErrNotIssued, os.ErrClosed)
	}
	return inner
}

// ioctl sends the command with all signals held back. The wait of a generic device
// ends with any signal (drivers/scsi/sg.c, SG_IO), and the kernel then starts the
// call once more: the command would be sent twice, and the first one would go on
// behind the back of everybody. It never repeats a call after EINTR either.
func ioctl(fd uintptr, hdr *sgIOHdr, notAfter boottime.Limit) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var all, before unix.Sigset_t
	for i := range all.Val {
		all.Val[i] = ^all.Val[i]
	}
	if err := unix.PthreadSigmask(unix.SIG_SETMASK, &all, &before); err != nil {
		return fmt.Errorf("%w: %w", blocks.ErrNotIssued, err)
	}
	_, errno, begun := boottime.Syscall(notAfter.Instant(), unix.SYS_IOCTL, fd, ioctlSGIO, uintptr(unsafe.Pointer(hdr)), 0, 0, 0)
	restored := unix.PthreadSigmask(unix.SIG_SETMASK, &before, nil)
	runtime.KeepAlive(hdr)
	switch {
	case !begun:
		return fmt.Errorf("%w: %w", blocks.ErrNotIssued, boottime.ErrPassed)
	case errno != 0:
		return errno
	case restored != nil: // the errno must not be taken for that of the command
		return fmt.Errorf("signal mask: %v", restored)
	}
	return nil
}

func pinned(pin *runtime.Pinner, b []byte) uintptr {
	pin.Pin(&b[0])
	return uintptr(unsafe.Pointer(&b[0]))
}

// milliseconds rounds up, so that a short timeout does not become none.
func milliseconds(d time.Duration) uint32 {
	d = max(d, 0)
	ms := d / time.Millisecond
	if d%time.Millisecond > 0 {
		ms++
	}
	return uint32(min(ms, math.MaxUint32))
}
