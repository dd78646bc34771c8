package dmtable

import (
	"encoding/binary"

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
	if err := c.kernel.Ioctl(unix.DM_TARGET_MSG, c.buf); err != nil {
		return &Error{"message " + text, dev, err}
	}
	return nil
}
