// Package dmtest plays the kernel's side of the device-mapper ioctls, for
// tests. It writes replies from the text of the kernel's header
// (include/uapi/linux/dm-ioctl.h), independently of what reads them.
package dmtest

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/remap"
)

// Device is a mapped device as the kernel would show it.
type Device struct {
	Dev  remap.Dev
	Name string
	UUID string
	// Flags are the DM_*_FLAG bits of the reply.
	Flags     uint32
	OpenCount int32
	// Lines is the table, as dmsetup prints it: "0 2048 linear 8:16 0".
	Lines []string
	// Status are the status lines of the targets, without position and type;
	// those that are missing are empty.
	Status []string
	// Secret is a key in hex, each digit veiled by [Veil]. The reply has it in
	// the place of [Hidden] digits in Lines: it stands nowhere in memory but in
	// the buffer of whoever asked.
	Secret []byte
	// Deps are the devices that the table holds; nil stands for all words of
	// the table that are device numbers.
	Deps []remap.Dev
	// Message takes messages to the target at the beginning of the device. It
	// may change the device, which is what the kernel shows from then on,
	// but not ask the Kernel. Without it, messages are not understood.
	Message func(d *Device, text string) error
}

// Veil is what the digits of a secret are changed by: no digit becomes one.
const Veil = 0x80

// Hidden stands for a secret of n digits in a line.
func Hidden(n int) string { return strings.Repeat("?", n) }

// unveil writes the secret into a reply.
func (d *Device) unveil(buf []byte) {
	hidden := []byte(Hidden(len(d.Secret)))
	for len(hidden) > 0 {
		at := bytes.Index(buf, hidden)
		if at < 0 {
			return
		}
		for i, digit := range d.Secret {
			buf[at+i] = digit ^ Veil
		}
	}
}

// Kernel answers ioctls for a set of devices. It is safe for concurrent use.
type Kernel struct {
	mu      sync.Mutex
	devices []Device
	calls   int
}

// New makes a kernel with some devices.
func New(devices ...Device) *Kernel { return &Kernel{devices: devices} }

// Set replaces the device of the same number, or adds it.
func (k *Kernel) Set(d Device) {
	k.Remove(d.Dev)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.devices = append(k.devices, d)
}

// Remove removes a device.
func (k *Kernel) Remove(dev remap.Dev) {
	k.mu.Lock()
	defer k.mu.Unlock()
	var kept []Device
	for _, d := range k.devices {
		if d.Dev != dev {
			kept = append(kept, d)
		}
	}
	k.devices = kept
}

// Calls counts the ioctls so far.
func (k *Kernel) Calls() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.calls
}

// Close does nothing.
func (k *Kernel) Close() error { return nil }

// Offsets in struct dm_ioctl.
const (
	atDataSize    = 12
	atDataStart   = 16
	atTargetCount = 20
	atOpenCount   = 24
	atFlags       = 28
	atDev         = 40
	atName        = 48
	atUUID        = 176
	atData        = 305
	headerSize    = 312
)

// Ioctl answers one command the way drivers/md/dm-ioctl.c does.
func (k *Kernel) Ioctl(command uint, buf []byte) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.calls++
	flags := binary.NativeEndian.Uint32(buf[atFlags:])
	switch {
	case len(buf) < headerSize || int(binary.NativeEndian.Uint32(buf[atDataSize:])) != len(buf):
		return unix.EINVAL
	case command == unix.DM_LIST_DEVICES:
		return reply(buf, Device{}, 0, k.list())
	}
	d := k.find(binary.NativeEndian.Uint64(buf[atDev:]))
	if d == nil {
		return unix.ENXIO
	}
	switch command {
	case unix.DM_DEV_STATUS:
		return reply(buf, *d, len(d.Lines), nil)
	case unix.DM_TABLE_DEPS:
		return reply(buf, *d, len(d.Lines), d.deps())
	case unix.DM_TARGET_MSG:
		return d.message(buf)
	case unix.DM_TABLE_STATUS:
		const want = unix.DM_SECURE_DATA_FLAG | unix.DM_NOFLUSH_FLAG
		if flags&want != want {
			return unix.EINVAL
		}
		lines := d.Lines
		if flags&unix.DM_STATUS_TABLE_FLAG == 0 {
			lines = d.status()
		}
		records, err := table(lines)
		if err != nil {
			return err
		}
		err = reply(buf, *d, len(d.Lines), records)
		d.unveil(buf[headerSize:])
		return err
	}
	return unix.ENOTTY
}

// message takes a struct dm_target_msg the way target_message does: it has to lie
// behind the header, and its text to end inside of the buffer.
func (d *Device) message(buf []byte) error {
	start := int(binary.NativeEndian.Uint32(buf[atDataStart:]))
	if start < atData || start > len(buf)-8 {
		return unix.EINVAL
	}
	sector := binary.NativeEndian.Uint64(buf[start:])
	text, _, ended := bytes.Cut(buf[start+8:], []byte{0})
	if !ended || len(bytes.Fields(text)) == 0 || sector != 0 || d.Message == nil {
		return unix.EINVAL
	}
	return d.Message(d, string(text))
}

func (k *Kernel) find(number uint64) *Device {
	for i := range k.devices {
		if hugeEncode(k.devices[i].Dev) == number {
			return &k.devices[i]
		}
	}
	return nil
}

// reply writes the header and as much data as fits: all or, as a full buffer
// is told, nothing.
func reply(buf []byte, d Device, targets int, data []byte) error {
	flags, size := d.Flags, atData
	switch {
	case headerSize+len(data) > len(buf):
		flags |= unix.DM_BUFFER_FULL_FLAG
	case len(data) > 0:
		size = headerSize + len(data)
		copy(buf[headerSize:], data)
	}
	binary.NativeEndian.PutUint32(buf[atDataSize:], uint32(size))
	binary.NativeEndian.PutUint32(buf[atDataStart:], headerSize)
	binary.NativeEndian.PutUint32(buf[atTargetCount:], uint32(targets))
	binary.NativeEndian.PutUint32(buf[atOpenCount:], uint32(d.OpenCount))
	binary.NativeEndian.PutUint32(buf[atFlags:], flags)
	binary.NativeEndian.PutUint64(buf[atDev:], hugeEncode(d.Dev))
	copy(buf[atName:atUUID], d.Name)
	copy(buf[atUUID:atData], d.UUID)
	return nil
}

// status puts the status lines in the place of the parameters.
func (d *Device) status() []string {
	var lines []string
	for i, line := range d.Lines {
		line = strings.Join(strings.SplitN(line, " ", 4)[:3], " ")
		if i < len(d.Status) && d.Status[i] != "" {
			line += " " + d.Status[i]
		}
		lines = append(lines, line)
	}
	return lines
}

// table writes struct dm_target_spec records; next counts from the first one.
func table(lines []string) ([]byte, error) {
	var out []byte
	for _, line := range lines {
		words := strings.SplitN(line, " ", 4)
		if len(words) < 3 {
			return nil, fmt.Errorf("dmtest: line %q", line)
		}
		start, err := strconv.ParseUint(words[0], 10, 64)
		if err != nil {
			return nil, err
		}
		length, err := strconv.ParseUint(words[1], 10, 64)
		if err != nil {
			return nil, err
		}
		at := len(out)
		out = binary.NativeEndian.AppendUint64(out, start)
		out = binary.NativeEndian.AppendUint64(out, length)
		out = append(out, make([]byte, 24)...)
		copy(out[at+24:at+40], words[2])
		out = append(out, strings.Join(words[3:], "")...)
		out = pad8(append(out, 0))
		binary.NativeEndian.PutUint32(out[at+20:], uint32(len(out)))
	}
	return out, nil
}

// deps writes struct dm_target_deps.
func (d *Device) deps() []byte {
	devs := d.Deps
	if devs == nil {
		devs = devsOf(d.Lines)
	}
	out := binary.NativeEndian.AppendUint64(nil, 0)
	binary.NativeEndian.PutUint32(out, uint32(len(devs)))
	for _, dev := range devs {
		out = binary.NativeEndian.AppendUint64(out, hugeEncode(dev))
	}
	return out
}

func devsOf(lines []string) []remap.Dev {
	var devs []remap.Dev
	seen := make(map[remap.Dev]bool)
	for _, line := range lines {
		for word := range strings.SplitSeq(line, " ") {
			if dev, err := remap.ParseDev(word); err == nil && !seen[dev] {
				seen[dev] = true
				devs = append(devs, dev)
			}
		}
	}
	return devs
}

// list writes struct dm_name_list records; next counts from the record.
func (k *Kernel) list() []byte {
	if len(k.devices) == 0 {
		return make([]byte, 16)
	}
	var out []byte
	for i, d := range k.devices {
		at := len(out)
		out = binary.NativeEndian.AppendUint64(out, hugeEncode(d.Dev))
		out = append(out, 0, 0, 0, 0)
		out = pad8(append(append(out, d.Name...), 0))
		flags := uint32(unix.DM_NAME_LIST_FLAG_DOESNT_HAVE_UUID)
		if d.UUID != "" {
			flags = unix.DM_NAME_LIST_FLAG_HAS_UUID
		}
		out = binary.NativeEndian.AppendUint32(out, 0)
		out = binary.NativeEndian.AppendUint32(out, flags)
		if d.UUID != "" {
			out = append(append(out, d.UUID...), 0)
		}
		out = pad8(out)
		if i < len(k.devices)-1 {
			binary.NativeEndian.PutUint32(out[at+8:], uint32(len(out)-at))
		}
	}
	return out
}

func pad8(b []byte) []byte {
	for len(b)%8 != 0 {
		b = append(b, 0)
	}
	return b
}

// hugeEncode is huge_encode_dev of include/linux/kdev_t.h.
func hugeEncode(d remap.Dev) uint64 {
	return uint64(d.Minor&0xff) | uint64(d.Major)<<8 | uint64(d.Minor&^uint32(0xff))<<12
}
