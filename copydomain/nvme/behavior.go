package nvme

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/dmcopy/dmcopy/copydomain/blocks"
)

const (
	// fidBehavior is the feature identifier of Host Behavior Support.
	fidBehavior = 0x16

	// behaviorSize is the length of its data structure in bytes.
	behaviorSize = 512
)

// HostBehavior is the Host Behavior Support data structure (feature 16h, NVM
// Express Base Specification): what the host tells a controller that it knows.
// Bytes that this package has no use for are kept as they are.
type HostBehavior [behaviorSize]byte

// CopyFormats is CDFE, bytes 5:4: the descriptor formats that the controller
// takes beyond 0 and 1, which need no word of the host.
func (b *HostBehavior) CopyFormats() Formats { return Formats(binary.LittleEndian.Uint16(b[4:])) }

// WithCopyFormat is b with the bit of a format set or cleared.
func (b HostBehavior) WithCopyFormat(f Format, on bool) HostBehavior {
	formats := b.CopyFormats() &^ (1 << f)
	if on {
		formats |= 1 << f
	}
	binary.LittleEndian.PutUint16(b[4:], uint16(formats))
	return b
}

// ReadBehavior asks a controller for its Host Behavior Support. The kernel lets
// only privileged programs ask.
func ReadBehavior(ctx context.Context, t Transport) (HostBehavior, error) {
	b := make([]byte, behaviorSize)
	err := admin(ctx, t, "get host behavior support", Command{Opcode: OpGetFeatures, CDW10: fidBehavior, Data: b})
	if err != nil {
		return HostBehavior{}, err
	}
	return HostBehavior(b), nil
}

// SetCopyFormat sets or clears the bit of one descriptor format, leaves all else
// as it is, and reads back whether the controller has taken it: changed tells
// whether there was anything to do.
//
// The setting belongs to the controller, not to whoever made it: it lasts until
// somebody sets it again or the controller is reset. Kernels since about the end
// of 2026 refuse to pass it on, with EACCES, whoever asks
// (drivers/nvme/host/ioctl.c, nvme_admin_cmd_allowed).
func SetCopyFormat(ctx context.Context, t Transport, f Format, on bool) (changed bool, err error) {
	const op = "set host behavior support"
	now, err := ReadBehavior(ctx, t)
	if err != nil || now.CopyFormats().Has(f) == on {
		return false, err
	}
	wanted := now.WithCopyFormat(f, on)
	if err := admin(ctx, t, op, Command{Opcode: OpSetFeatures, CDW10: fidBehavior, Data: wanted[:]}); err != nil {
		// Without an answer nobody knows whether it was taken.
		status := Status(0)
		return !errors.Is(err, blocks.ErrNotIssued) && !errors.As(err, &status), err
	}
	now, err = ReadBehavior(ctx, t)
	if err == nil && now.CopyFormats().Has(f) != on {
		err = opError(op, "", fmt.Errorf("%w: the controller accepts it without doing it", blocks.ErrNotSupported))
	}
	return true, err
}

// checkBehavior asserts that a feature command is about Host Behavior Support: its
// current value (SEL 0), which is not to be saved (SV 0).
func checkBehavior(c *Command) error {
	if c.CDW10 != fidBehavior || c.NSID|c.CDW2|c.CDW3|c.CDW11|c.CDW12|c.CDW13|c.CDW14|c.CDW15 != 0 {
		return fmt.Errorf("%w: admin opcode %#02x for feature %#x", blocks.ErrNotAllowed, uint8(c.Opcode), c.CDW10)
	}
	if len(c.Data) != behaviorSize {
		return fmt.Errorf("%w: host behavior support of %d bytes", blocks.ErrInvalid, len(c.Data))
	}
	return nil
}
