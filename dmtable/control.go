package dmtable

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/remap"
)

// Bounds of the reply buffer in bytes. The kernel refuses more than a GiB
// (dm-ioctl.c, copy_params).
const (
	firstBuffer = 16 << 10
	maxBuffer   = 1 << 30
)

// bytesPerLine is a guess for the size of a printed target line: one of a
// linear target takes 56 to 72 bytes.
const bytesPerLine = 72

// Control asks the kernel about mapped devices. It is safe for concurrent use.
type Control struct {
	kernel Kernel

	// limit is the size to which the buffer may grow, in bytes.
	limit uint64

	mu sync.Mutex
	// buf is kept between calls, because a table that did not fit once will
	// not fit the next time. It is all zeroes outside of a call.
	buf []byte
}

// Open opens /dev/mapper/control. The error wraps fs.ErrNotExist when the
// machine has no device-mapper and fs.ErrPermission for anybody but root.
func Open() (*Control, error) {
	k, err := openControl()
	if err != nil {
		return nil, &Error{Op: "open", Err: err}
	}
	return New(k), nil
}

// New makes a Control that asks k.
func New(k Kernel) *Control {
	return &Control{kernel: k, limit: maxBuffer, buf: make([]byte, firstBuffer)}
}

// Close closes the kernel interface.
func (c *Control) Close() error { return c.kernel.Close() }

// Table reads the live table of a device and the devices that it rests on.
func (c *Control) Table(dev remap.Dev) (*Table, error) {
	t := new(Table)
	err := c.call("table", unix.DM_TABLE_STATUS, tableFlags, dev, func(r reply) error {
		t.Print = fingerprint(r)
		return t.parse(r)
	})
	if err != nil {
		return nil, err
	}
	if err := c.addStatus(t); err != nil {
		return nil, err
	}
	err = c.call("dependencies", unix.DM_TABLE_DEPS, 0, dev, func(r reply) (err error) {
		t.Deps, err = r.deps()
		return err
	})
	if err != nil {
		return nil, err
	}
	return t, nil
}

// State is what has to be equal for a table to be unchanged.
type State struct {
	// Print is a keyed digest of the name, the uuid, the flags and all target
	// lines. It is comparable within one process only.
	Print remap.Fingerprint
	// Transition is as in [Info.Transition].
	Transition string
}

// State reads the live table of a device without parsing it.
func (c *Control) State(dev remap.Dev) (State, error) {
	var s State
	var moods bool
	err := c.call("table", unix.DM_TABLE_STATUS, tableFlags, dev, func(r reply) error {
		info, err := r.info()
		if err != nil {
			return err
		}
		s = State{fingerprint(r), info.Transition()}
		moods, err = hasVitals(r)
		return err
	})
	if err != nil || !moods {
		return s, err
	}
	err = c.call("status", unix.DM_TABLE_STATUS, statusFlags, dev, func(r reply) error {
		s.Print, err = withVitals(s.Print, r)
		return err
	})
	return s, err
}

// Info reads the status of a device (DM_DEV_STATUS).
func (c *Control) Info(dev remap.Dev) (Info, error) {
	var info Info
	err := c.call("status", unix.DM_DEV_STATUS, 0, dev, func(r reply) (err error) {
		info, err = r.info()
		return err
	})
	return info, err
}

// List lists all mapped devices of the machine.
func (c *Control) List() ([]Listed, error) {
	var found []Listed
	err := c.call("list", unix.DM_LIST_DEVICES, unix.DM_UUID_FLAG, remap.Dev{}, func(r reply) (err error) {
		found, err = r.list()
		return err
	})
	return found, err
}

// tableFlags ask for constructor lines (not status), to be wiped from the
// kernel's own buffers, and keep thin pools and caches from committing their
// metadata for the answer.
const tableFlags = unix.DM_STATUS_TABLE_FLAG | unix.DM_SECURE_DATA_FLAG | unix.DM_NOFLUSH_FLAG

// statusFlags ask for status lines.
const statusFlags = unix.DM_SECURE_DATA_FLAG | unix.DM_NOFLUSH_FLAG

// call runs one command, hands the reply to read and wipes it.
func (c *Control) call(op string, command uint, flags uint32, dev remap.Dev, read func(reply) error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	r, err := c.ask(command, flags, dev)
	defer clear(r)
	if err == nil {
		err = c.check(r, command, dev)
	}
	if err == nil {
		err = read(r)
	}
	if err != nil {
		return &Error{op, dev, err}
	}
	return nil
}

// ask runs the command in a buffer that grows until the reply fits.
func (c *Control) ask(command uint, flags uint32, dev remap.Dev) (reply, error) {
	for {
		putRequest(c.buf, flags, dev)
		err := c.kernel.Ioctl(command, c.buf)
		whole := reply(c.buf)
		switch {
		case errors.Is(err, unix.ENXIO):
			return whole, fmt.Errorf("%w: %w", ErrNoDevice, err)
		case err != nil:
			return whole, err
		case !whole.flag(unix.DM_BUFFER_FULL_FLAG):
			size := whole.u32(offDataSize)
			if uint64(size) < uint64(offData) || uint64(size) > uint64(len(whole)) {
				return whole, fmt.Errorf("%w: data size of %d in a buffer of %d bytes", ErrReply, size, len(whole))
			}
			return whole[:max(uintptr(size), sizeofHeader)], nil
		case uint64(len(whole)) >= c.limit:
			return whole, ErrTooBig
		}
		// The count of targets is right even if not all of them fitted.
		want := max(2*uint64(len(whole)), uint64(whole.u32(offTargetCount))*bytesPerLine)
		clear(whole)
		c.buf = make([]byte, min(want, c.limit))
	}
}

// putRequest writes the header of a request. Interface version 4.0.0 is
// understood by every kernel; a minor above the kernel's own is refused.
func putRequest(buf []byte, flags uint32, dev remap.Dev) {
	binary.NativeEndian.PutUint32(buf[offVersion:], 4)
	binary.NativeEndian.PutUint32(buf[offDataSize:], uint32(len(buf)))
	binary.NativeEndian.PutUint32(buf[offDataStart:], uint32(sizeofHeader))
	binary.NativeEndian.PutUint32(buf[offFlags:], flags)
	binary.NativeEndian.PutUint64(buf[offDev:], encodeDev(dev))
}

// check makes sure that the reply is about the device that was asked for.
func (c *Control) check(r reply, command uint, dev remap.Dev) error {
	if command == unix.DM_LIST_DEVICES {
		return nil
	}
	if got := decodeDev(r.u64(offDev)); got != dev {
		return fmt.Errorf("%w: it is about device %s", ErrReply, got)
	}
	return nil
}

// printKey is the key of fingerprints.
var printKey = sync.OnceValue(randomKey)

// printFlags are the flags that belong to the layout of a device. Those of a
// transition are told apart from it: [Info.Transition].
const printFlags = unix.DM_READONLY_FLAG | unix.DM_ACTIVE_PRESENT_FLAG

// fingerprint digests a TABLE_STATUS reply. The open count and the event
// number are left out: they change without the table. Bytes between records
// are zero, because the buffer was before the call and the kernel copies it in
// (dm-ioctl.c, copy_params).
func fingerprint(r reply) remap.Fingerprint {
	mac := newDigester(printKey())
	var head [16]byte
	binary.NativeEndian.PutUint64(head[0:], r.u64(offDev))
	binary.NativeEndian.PutUint32(head[8:], r.u32(offFlags)&printFlags)
	binary.NativeEndian.PutUint32(head[12:], r.u32(offTargetCount))
	mac.Write(head[:])
	mac.Write(r[offName:offData])
	mac.Write(r[sizeofHeader:])
	return mac.sum()
}
