package dmtable

import (
	"encoding/binary"
	"errors"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/dmtable/dmtest"
)

// A message arrives as it was sent, changes what the kernel shows, and leaves
// nothing behind.
func TestMessage(t *testing.T) {
	d := active(devOther, "0 8 linear 8:32 0")
	var got []string
	d.Message = func(d *dmtest.Device, text string) error {
		got = append(got, text)
		d.Lines = []string{"0 8 zero"}
		return nil
	}
	c := New(dmtest.New(d))
	longest := strings.Repeat("x", firstBuffer-int(sizeofHeader)-8-1)
	for _, text := range []string{"reserve_metadata_snap", "a b", longest} {
		if err := c.Message(devOther, text); err != nil {
			t.Errorf("%.20q: %v", text, err)
		}
		if got[len(got)-1] != text {
			t.Errorf("%.20q arrived as %.20q", text, got[len(got)-1])
		}
		wiped(t, c)
	}
	if table, err := c.Table(devOther); err != nil || table.Targets[0].Type != "zero" {
		t.Errorf("%+v, %v", table, err)
	}
}

func wiped(t *testing.T, c *Control) {
	t.Helper()
	for i, b := range c.buf {
		if b != 0 {
			t.Fatalf("byte %d of the buffer is %#x", i, b)
		}
	}
}

// Errors keep their errno and tell neither arguments nor what was never sent.
func TestMessageFails(t *testing.T) {
	d := active(devOther, "0 8 linear 8:32 0")
	var sent int
	answer := error(unix.EBUSY)
	d.Message = func(*dmtest.Device, string) error { sent++; return answer }
	k := dmtest.New(d)
	c := New(k)
	for _, errno := range []unix.Errno{unix.EBUSY, unix.EOPNOTSUPP, unix.EINVAL} {
		answer = errno
		err := c.Message(devOther, "key set 00112233")
		var e *Error
		if !errors.Is(err, errno) || !errors.As(err, &e) || e.Dev != devOther {
			t.Errorf("%v: %v", errno, err)
		}
		if strings.Contains(err.Error(), "0011") || !strings.Contains(err.Error(), "message key") {
			t.Errorf("%v", err)
		}
		wiped(t, c)
	}
	sent = 0
	if err := c.Message(devOther, strings.Repeat("x", firstBuffer-int(sizeofHeader)-8)); !errors.Is(err, ErrTooBig) || sent != 0 {
		t.Errorf("too long: %v, %d sent", err, sent)
	}
	wiped(t, c)
	for _, nothing := range []string{"", " "} {
		if err := c.Message(devOther, nothing); !errors.Is(err, unix.EINVAL) || sent != 0 {
			t.Errorf("%q: %v, %d sent", nothing, err, sent)
		}
	}
	k.Remove(devOther)
	if err := c.Message(devOther, "x"); !errors.Is(err, ErrNoDevice) || !errors.Is(err, unix.ENXIO) {
		t.Errorf("without a device: %v", err)
	}
	k.Set(active(devOther, "0 8 linear 8:32 0"))
	if err := c.Message(devOther, "x"); !errors.Is(err, unix.EINVAL) {
		t.Errorf("a target that takes no messages: %v", err)
	}
}

// What the kernel refuses to take for a request, the fake one refuses too.
func TestMessageLayout(t *testing.T) {
	d := active(devOther, "0 8 linear 8:32 0")
	d.Message = func(*dmtest.Device, string) error { return nil }
	k := dmtest.New(d)
	send := func(change func(buf []byte) []byte) error {
		buf := make([]byte, 400)
		putRequest(buf, 0, devOther)
		copy(buf[sizeofHeader+8:], "hello")
		return k.Ioctl(unix.DM_TARGET_MSG, change(buf))
	}
	for what, change := range map[string]func(buf []byte) []byte{
		"without an end": func(buf []byte) []byte {
			for i := int(sizeofHeader) + 8; i < len(buf); i++ {
				buf[i] = 'x'
			}
			return buf
		},
		"in the header":    func(buf []byte) []byte { binary.NativeEndian.PutUint32(buf[offDataStart:], 300); return buf },
		"behind the end":   func(buf []byte) []byte { binary.NativeEndian.PutUint32(buf[offDataStart:], 393); return buf },
		"of no target":     func(buf []byte) []byte { binary.NativeEndian.PutUint64(buf[sizeofHeader:], 8); return buf },
		"of another size":  func(buf []byte) []byte { return buf[:399] },
		"shorter than all": func(buf []byte) []byte { return buf[:100] },
	} {
		if err := send(change); !errors.Is(err, unix.EINVAL) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := send(func(buf []byte) []byte { return buf }); err != nil {
		t.Error(err)
	}
}
