package nvme

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/copydomain/blocks"
	"github.com/dmcopy/dmcopy/internal/boottime"
)

// File is a Transport over the passthrough ioctls of the kernel driver. Several
// commands may be in flight at once; each occupies a thread.
type File struct {
	f        *os.File
	nsid     uint32 // 0 for a controller, which takes admin commands only
	disk     string // number of the block device
	writable bool

	// maySet is set by AllowSetBehavior.
	maySet atomic.Bool

	// only32 is set once an old kernel has answered ENOTTY to a 64 bit ioctl,
	// which it does before anything is issued.
	only32 atomic.Bool
}

var _ BehaviorSetter = (*File)(nil)

// Open opens the namespace with the kernel name name ("nvme0n1"). It prefers the
// generic character device /dev/ng0n1, which has no page cache and no partitions,
// over the block device of the same namespace. Copy needs write: the kernel lets
// root send it over a read-only descriptor as well, this package does not.
//
// A name can pass to another device at any time: compare [File.Disk], and identify
// the namespace through the Transport, before trusting it. The open descriptor stays
// with its device.
func Open(name string, write bool) (*File, error) { return thisSystem.openNamespace(name, write) }

func (s system) openNamespace(name string, write bool) (*File, error) {
	m := kernelName.FindStringSubmatch(name)
	if m == nil {
		return nil, opError("open", name, ErrNotNVMe)
	}
	flag := os.O_RDONLY
	if write {
		flag = os.O_RDWR
	}
	f, err := s.open(classGeneric, "ng"+m[1], flag)
	if errors.Is(err, fs.ErrNotExist) {
		f, err = s.open(classBlock, name, flag)
	}
	if err != nil {
		return nil, opError("open", name, err)
	}
	file, err := NewFile(f)
	if err == nil {
		file.disk, err = s.number(classBlock, name)
		err = opError("open", name, err)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return file, nil
}

// Disk is the number of the block device, "MAJOR:MINOR", that had the name when it
// was opened.
func (t *File) Disk() string { return t.disk }

// OpenController opens the controller with the kernel name name ("nvme0"), for
// admin commands.
func OpenController(name string) (*File, error) { return thisSystem.openController(name) }

func (s system) openController(name string) (*File, error) {
	if !controllerName.MatchString(name) {
		return nil, opError("open", name, ErrNotNVMe)
	}
	f, err := s.open(classController, name, os.O_RDWR)
	if err != nil {
		return nil, opError("open", name, err)
	}
	return &File{f: f, writable: true}, nil
}

// NewFile wraps an open namespace device, which it then owns. It asks the driver
// for the namespace ID and fails with [ErrNotNVMe] for anything else.
func NewFile(f *os.File) (*File, error) {
	t := &File{f: f}
	ret, err := t.ioctl(ioctlID, nil, boottime.Forever)
	if errors.Is(err, unix.ENOTTY) || errors.Is(err, unix.EINVAL) {
		return nil, opError("open", f.Name(), fmt.Errorf("%w: %w", ErrNotNVMe, err))
	}
	if err != nil {
		return nil, opError("open", f.Name(), err)
	}
	if ret <= 0 {
		return nil, opError("open", f.Name(), fmt.Errorf("%w: namespace ID %d", blocks.ErrInvalid, ret))
	}
	t.nsid = uint32(ret)
	if t.writable, err = openedForWriting(f); err != nil {
		return nil, opError("open", f.Name(), err)
	}
	return t, nil
}

func openedForWriting(f *os.File) (bool, error) {
	conn, err := f.SyscallConn()
	if err != nil {
		return false, err
	}
	var flags int
	var errno error
	err = conn.Control(func(fd uintptr) { flags, errno = unix.FcntlInt(fd, unix.F_GETFL, 0) })
	return flags&unix.O_ACCMODE == unix.O_RDWR, errors.Join(err, errno)
}

// NSID is the namespace that the descriptor belongs to, 0 for a controller. The
// kernel refuses I/O commands for any other. It does not look at the namespaces
// that a Copy command reads from.
func (t *File) NSID() uint32 { return t.nsid }

// Close closes the descriptor. Commands in flight keep the device open until
// they come back.
func (t *File) Close() error { return opError("close", t.f.Name(), t.f.Close()) }

// AllowSetBehavior implements BehaviorSetter.
func (t *File) AllowSetBehavior() { t.maySet.Store(true) }

// Admin implements Transport. On a multipath head the kernel chooses the
// controller.
func (t *File) Admin(ctx context.Context, c *Command) (Completion, error) {
	if err := checkAdmin(c, t.maySet.Load()); err != nil {
		return Completion{}, t.refused("admin", err)
	}
	return t.submit(ctx, "admin", ioctlAdmin64, ioctlAdmin, c)
}

// IO implements Transport.
func (t *File) IO(ctx context.Context, c *Command) (Completion, error) {
	if err := checkIO(c); err != nil {
		return Completion{}, t.refused("io", err)
	}
	if t.nsid == 0 || c.NSID != t.nsid {
		return Completion{}, t.refused("io", fmt.Errorf("%w: namespace %d on a descriptor of %d", blocks.ErrInvalid, c.NSID, t.nsid))
	}
	if c.Opcode == OpCopy && !t.writable {
		return Completion{}, t.refused("io", fmt.Errorf("%w: copy over a read-only descriptor", blocks.ErrNotAllowed))
	}
	return t.submit(ctx, "io", ioctlIO64, ioctlIO, c)
}

func (t *File) refused(op string, err error) error {
	return opError(op, t.f.Name(), fmt.Errorf("%w: %w", blocks.ErrNotIssued, err))
}

func (t *File) submit(ctx context.Context, op string, req64, req32 uint, c *Command) (Completion, error) {
	if err := ctx.Err(); err != nil {
		return Completion{}, t.refused(op, err)
	}
	if !t.only32.Load() {
		completion, err := t.passthru64(req64, c)
		if !errors.Is(err, unix.ENOTTY) {
			return completion, t.answer(op, err)
		}
		t.only32.Store(true)
	}
	completion, err := t.passthru32(req32, c)
	return completion, t.answer(op, err)
}

// answer marks the errors after which the device cannot have the command.
func (t *File) answer(op string, err error) error {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		if _, ok := notIssued[errno]; ok {
			return t.refused(op, err)
		}
	}
	return opError(op, t.f.Name(), err)
}

func (t *File) passthru64(req uint, c *Command) (Completion, error) {
	var pin runtime.Pinner
	defer pin.Unpin()
	p := &passthruCmd64{
		opcode: uint8(c.Opcode), nsid: c.NSID, cdw2: c.CDW2, cdw3: c.CDW3,
		addr: pinData(&pin, c.Data), dataLen: uint32(len(c.Data)),
		cdw10: c.CDW10, cdw11: c.CDW11, cdw12: c.CDW12, cdw13: c.CDW13, cdw14: c.CDW14, cdw15: c.CDW15,
		timeoutMs: milliseconds(c.Timeout),
	}
	status, err := t.ioctl(req, unsafe.Pointer(p), c.NotAfter.Instant())
	return Completion{Status: Status(status), Result: p.result}, err
}

func (t *File) passthru32(req uint, c *Command) (Completion, error) {
	var pin runtime.Pinner
	defer pin.Unpin()
	p := &passthruCmd{
		opcode: uint8(c.Opcode), nsid: c.NSID, cdw2: c.CDW2, cdw3: c.CDW3,
		addr: pinData(&pin, c.Data), dataLen: uint32(len(c.Data)),
		cdw10: c.CDW10, cdw11: c.CDW11, cdw12: c.CDW12, cdw13: c.CDW13, cdw14: c.CDW14, cdw15: c.CDW15,
		timeoutMs: milliseconds(c.Timeout),
	}
	status, err := t.ioctl(req, unsafe.Pointer(p), c.NotAfter.Instant())
	return Completion{Status: Status(status), Result: uint64(p.result)}, err
}

// ioctl returns what the driver returned: for the passthrough requests 0 or the
// status of the completion. It never repeats a call after EINTR (see notIssued).
// Control keeps the descriptor from being closed, and its number from being used
// for another device, while the call lasts.
func (t *File) ioctl(req uint, arg unsafe.Pointer, until boottime.Instant) (int, error) {
	conn, err := t.f.SyscallConn()
	if err != nil {
		return 0, fmt.Errorf("%w: %w", blocks.ErrNotIssued, err)
	}
	var ret uintptr
	var errno syscall.Errno
	var begun bool
	err = conn.Control(func(fd uintptr) {
		ret, errno, begun = boottime.Syscall(until, unix.SYS_IOCTL, fd, uintptr(req), uintptr(arg), 0, 0, 0)
	})
	runtime.KeepAlive(arg)
	switch {
	case err != nil: // only of a closed file, with an error of its own
		return 0, fmt.Errorf("%w: %w", blocks.ErrNotIssued, os.ErrClosed)
	case !begun:
		return 0, fmt.Errorf("%w: %w", blocks.ErrNotIssued, boottime.ErrPassed)
	case errno != 0:
		return 0, errno
	}
	return int(ret), nil
}

// pinData keeps the buffer in place, because the kernel sees its address as a
// number only.
func pinData(pin *runtime.Pinner, data []byte) uint64 {
	if len(data) == 0 {
		return 0
	}
	pin.Pin(&data[0])
	return uint64(uintptr(unsafe.Pointer(&data[0])))
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
