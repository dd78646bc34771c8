package dmtable

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/remap"
)

// Message sends text to the target at the beginning of a device
// (DM_TARGET_MSG; dm-ioctl.c, target_message). The request is struct
// dm_target_msg behind the header: the sector, and the text with a NUL.
func (c *Control) Message(dev remap.Dev, text string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	defer clear(c.buf)
	putRequest(c.buf, 0, dev)
	body := c.buf[sizeofHeader:]
	if len(text)+1 > len(body)-8 {
		return &Error{"message", dev, ErrTooBig}
	}
	binary.NativeEndian.PutUint64(body, 0)
	copy(body[8:], text)
	err := c.kernel.Ioctl(unix.DM_TARGET_MSG, c.buf)
	if errors.Is(err, unix.ENXIO) {
		err = fmt.Errorf("%w: %w", ErrNoDevice, err)
	}
	if err != nil {
		what, _, _ := strings.Cut(text, " ") // what follows may be a key
		return &Error{"message " + what, dev, err}
	}
	return nil
}
