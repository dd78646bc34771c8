package nvme

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/dmcopy/dmcopy/copydomain/blocks"
)

// adminTimeout bounds every Identify and Get Log Page: it is given to the kernel
// and, with as much again, to the wait for the answer.
const adminTimeout = 5 * time.Second

// Device is a namespace as a controller presents it.
type Device struct {
	Transport   Transport
	NSID        uint32
	Controller  Controller
	Namespace   Namespace
	Identifiers Identifiers
	ZoneBlocks  uint64 // the size of a zone in blocks, 0 where there are none
	Support     blocks.Support

	locks *blocks.RangeLocks
	once  sync.Once
	slots chan *slot // of all Copiers that write to the namespace
}

// Succeed has a namespace that was identified again respect the batches and the fences of what it
// was. It tells whether it can: not with other blocks, if something is fenced.
func (d *Device) Succeed(old *Device) bool {
	if d.Namespace.BlockSize != old.Namespace.BlockSize {
		return !old.locks.Busy()
	}
	d.locks = old.locks
	return true
}

func (d *Device) String() string {
	return fmt.Sprintf("%s (%s) nsid %d", d.Controller.Model, d.Controller.Serial, d.NSID)
}

// Probe reads what the controller behind t says of itself and of the namespace.
// An error means that an Identify failed or made no sense; a namespace that
// cannot copy is not an error but a [blocks.Support] of No with its reason.
func Probe(ctx context.Context, t Transport, nsid uint32) (*Device, error) {
	d := &Device{Transport: t, NSID: nsid, locks: new(blocks.RangeLocks)}
	b, err := identify(ctx, t, cnsController, 0)
	if err != nil {
		return nil, err
	}
	if d.Controller, err = ParseController(b); err != nil {
		return nil, err
	}
	if d.Namespace, err = readNamespace(ctx, t, nsid); err != nil {
		return nil, err
	}
	d.Support = judgeSupport(d.Controller, d.Namespace)
	if d.Support.Able != blocks.Yes {
		return d, nil
	}
	if d.Identifiers, d.Support, err = readIdentifiers(ctx, t, nsid); err != nil {
		return nil, err
	}
	if d.Support.Able == blocks.Yes && d.Identifiers.CommandSet == CommandSetZoned {
		if d.ZoneBlocks, err = readZoneBlocks(ctx, t, nsid, d.Namespace.Format); err != nil {
			return nil, err
		}
	}
	if d.Support.Able == blocks.Yes && d.Controller.EffectsLog {
		d.Support = checkEffects(ctx, t, d.Identifiers.CommandSet)
	}
	return d, nil
}

// judgeSupport applies what Identify alone can tell.
func judgeSupport(c Controller, n Namespace) blocks.Support {
	switch {
	case !c.Copy:
		return blocks.Unsupported("domain:no-copy-command", "the controller has no Copy command (ONCS bit 8)")
	case !c.CopyFormats.Has(Format0):
		return blocks.Unsupported("domain:format-0-unsupported", "the controller does not know descriptor format 0 (OCFS %#04x)", c.CopyFormats)
	case n.Protection != 0:
		// A command could have the controller strip and insert it (PRACT), but it could
		// check no more than the guard: about the byte order of reference tags in a descriptor
		// there is no agreement (see Format). The host reads with all checks.
		return blocks.Unsupported("domain:protection", "the namespace has protection information of type %d in %d bytes of metadata a block: the kernel checks it, a Copy command would not", n.Protection, n.MetadataSize)
	case n.MetadataSize != 0:
		return blocks.Unsupported("domain:metadata", "the namespace has %d bytes of metadata a block, which dmcopy does not move", n.MetadataSize)
	case !n.Limits.Valid():
		return blocks.Unsupported("limit:zero", "the namespace reports a limit of zero (%v)", n.Limits)
	case n.WriteProtect:
		return blocks.Unsupported("domain:write-protected", "the namespace is write protected")
	}
	return blocks.Support{Able: blocks.Yes}
}

// readIdentifiers finds out the command set: a zoned namespace has rules for writing,
// and a key-value namespace has no blocks. The list is mandatory since
// NVMe 1.3, and Copy is younger, so a device that copies has it.
func readIdentifiers(ctx context.Context, t Transport, nsid uint32) (Identifiers, blocks.Support, error) {
	b, err := identify(ctx, t, cnsNamespaceDescs, nsid)
	if status := Status(0); errors.As(err, &status) {
		return Identifiers{}, blocks.Support{Able: blocks.Unknown, Reason: "domain:command-set-unknown", Detail: err.Error()}, nil
	}
	if err != nil {
		return Identifiers{}, blocks.Support{}, err
	}
	ids, err := ParseIdentifiers(b)
	if err != nil {
		return Identifiers{}, blocks.Support{}, err
	}
	switch ids.CommandSet {
	case CommandSetNVM, CommandSetZoned:
		return ids, blocks.Support{Able: blocks.Yes}, nil
	}
	return ids, blocks.Unsupported("domain:command-set", "the namespace has command set %#x", uint8(ids.CommandSet)), nil
}

// checkEffects asks the Commands Supported and Effects log as well. It can only
// take a yes away: without the privilege to read it, or with a controller that
// fails to, ONCS stands.
func checkEffects(ctx context.Context, t Transport, set CommandSet) blocks.Support {
	b := make([]byte, 4096)
	err := admin(ctx, t, "read effects log", Command{
		Opcode: OpGetLogPage,
		NSID:   0xFFFFFFFF,
		CDW10:  0x05 | uint32(len(b)/4-1)<<16, // LID, NUMDL counts dwords from 0
		CDW14:  uint32(set) << 24,             // CSI
		Data:   b,
	})
	if err != nil {
		return blocks.Support{Able: blocks.Yes}
	}
	effects, err := ParseEffects(b, OpCopy)
	if err != nil || effects.Supported() {
		return blocks.Support{Able: blocks.Yes}
	}
	return blocks.Unsupported("domain:no-copy-command", "the Commands Supported and Effects log denies Copy")
}

func readZoneBlocks(ctx context.Context, t Transport, nsid uint32, format uint8) (uint64, error) {
	b := make([]byte, IdentifySize)
	err := admin(ctx, t, "identify zoned namespace", Command{
		Opcode: OpIdentify, NSID: nsid, CDW10: cnsNamespaceOfSet, CDW11: uint32(CommandSetZoned) << 24, Data: b,
	})
	if err != nil {
		return 0, err
	}
	return ParseZoneBlocks(b, format)
}

func readNamespace(ctx context.Context, t Transport, nsid uint32) (Namespace, error) {
	b, err := identify(ctx, t, cnsNamespace, nsid)
	if err != nil {
		return Namespace{}, err
	}
	return ParseNamespace(b)
}

// identify sends Identify and returns the data structure.
func identify(ctx context.Context, t Transport, cns uint8, nsid uint32) ([]byte, error) {
	b := make([]byte, IdentifySize)
	op := fmt.Sprintf("identify cns %02xh", cns)
	err := admin(ctx, t, op, Command{Opcode: OpIdentify, NSID: nsid, CDW10: uint32(cns), Data: b})
	return b, err
}

// admin sends a command that only reads from the controller and waits for it no
// longer than twice the admin timeout.
func admin(ctx context.Context, t Transport, op string, c Command) error {
	c.Timeout = adminTimeout
	return await(ctx, op, 2*adminTimeout, &c, t.Admin)
}

// await sends a command that writes nothing and waits for it no longer than ctx and
// the time. One that does not come back is left to its goroutine, which ends when the
// kernel lets go of it; it owns its command and buffer, so nobody is disturbed.
func await(ctx context.Context, op string, most time.Duration, c *Command, send func(context.Context, *Command) (Completion, error)) error {
	ctx, cancel := context.WithTimeoutCause(ctx, most, blocks.ErrTimeout)
	defer cancel()
	done := make(chan error, 1)
	go func() {
		completion, err := send(ctx, c)
		if err == nil && completion.Status.Code() != StatusSuccess {
			err = completion.Status
		}
		done <- err
	}()
	select {
	case err := <-done:
		return opError(op, "", err)
	case <-ctx.Done():
		return opError(op, "", context.Cause(ctx))
	}
}
