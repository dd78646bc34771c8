package nvme

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/dmcopy/dmcopy/copydomain/blocks"
	"github.com/dmcopy/dmcopy/internal/boottime"
)

// defaults are what the options have here: a controller is reset within seconds, and
// reports how much it copies at a time.
var defaults = blocks.Options{Grace: 10 * time.Second}

// Guard is called with each command right before it is issued. After an error neither
// the command nor the rest of its batch is issued. It is the place to assert that
// the blocks lie where the layout, read again, says. Calls for one batch come one
// at a time. The command must not be kept.
type Guard func(*CopyCommand) error

// Copier copies pieces inside one namespace, or from one to another. It is safe for
// concurrent use, and Copiers that have a Device in common respect each other's
// batches and fences: use one Device for a namespace in a process.
type Copier struct {
	src    *Device // the same as dev within a namespace
	dev    *Device // which is written, and gets the commands
	opts   blocks.Options
	issuer blocks.Issuer[*slot]

	sizes blocks.Sizes[Limits] // never above reported

	mu       sync.Mutex
	reported Limits // what Identify said last
}

// NewCopier prepares copies on a namespace that Probe found able.
func NewCopier(dev *Device, opts blocks.Options) (*Copier, error) { return newCopier(dev, dev, opts) }

// NewCrossCopier prepares copies from a namespace to another one that is attached
// to every controller that may execute the commands, where these take descriptor
// format 2: see [CrossNamespaceSupport].
func NewCrossCopier(src, dst *Device, opts blocks.Options) (*Copier, error) {
	if why := CrossNamespaceSupport(src, dst); why.Able != blocks.Yes {
		return nil, opError("new copier", dst.String(), fmt.Errorf("%w: %s (%s)", blocks.ErrNotSupported, why.Reason, why.Detail))
	}
	return newCopier(src, dst, opts)
}

func newCopier(src, dst *Device, opts blocks.Options) (*Copier, error) {
	for _, d := range []*Device{dst, src} {
		if d.Support.Able != blocks.Yes {
			return nil, opError("new copier", d.String(), fmt.Errorf("%w: %s (%s)", blocks.ErrNotSupported, d.Support.Reason, d.Support.Detail))
		}
	}
	opts = opts.Or(defaults)
	if dst.zoned() {
		opts.InFlight = 1 // a zone is written in order
	}
	reported := src.Namespace.Limits.Min(dst.Namespace.Limits)
	c := &Copier{
		src:  src,
		dev:  dst,
		opts: opts,
		issuer: blocks.Issuer[*slot]{
			Slots:    dst.room(opts.InFlight),
			Budget:   opts.Budget,
			Patience: opts.Timeout + opts.Grace,
			Fences:   dst.locks,
			Logger:   opts.Logger,
			Name:     nameOf(src, dst),
		},
		reported: reported,
	}
	c.sizes.Set(reported.Cap(opts.MaxCommandBytes, dst.Namespace.BlockSize))
	return c, nil
}

// nameOf is what a Copier copies between, for people.
func nameOf(src, dst *Device) string {
	if src == dst {
		return dst.String()
	}
	return fmt.Sprintf("%v from nsid %d", dst, src.NSID)
}

// room is what commands to the namespace are made in: n at a time, which whoever
// comes first decides.
func (d *Device) room(n int) chan *slot {
	d.once.Do(func() { d.slots = blocks.Rooms(n, newSlot) })
	return d.slots
}

// InFlight is the number of commands at a time to the namespace that is written.
func (c *Copier) InFlight() int { return cap(c.issuer.Slots) }

// Limits that the next commands will be made to.
func (c *Copier) Limits() Limits { return c.sizes.Limits() }

// Copy copies the pieces, which may come in any order, and returns when every
// command has come back or has been given up. When ctx ends no further command
// is issued, but those in flight are still waited for, at most for Timeout and
// Grace: a command cannot be called back.
//
// An error refuses the batch as a whole, before anything is issued:
// [blocks.ErrOverlap] within the batch or with one under way, [blocks.ErrFenced],
// [blocks.ErrOutOfRange], [blocks.ErrInvalid]. Everything later is in the Result.
func (c *Copier) Copy(ctx context.Context, pieces []blocks.Piece) (*blocks.Result, error) {
	return c.CopyGuarded(ctx, pieces, nil, func(*CopyCommand) error { return nil })
}

// CopyGuarded is Copy with a last look at every command, none of which is begun after
// notAfter.
func (c *Copier) CopyGuarded(ctx context.Context, pieces []blocks.Piece, notAfter boottime.Limit, guard Guard) (*blocks.Result, error) {
	pieces, release, err := blocks.Claim(c.src.side(), c.dev.side(), pieces)
	if err != nil {
		return nil, opError("copy", c.issuer.Name, err)
	}
	defer release()
	fit, misfits := c.misfits(ctx, pieces)
	r := c.issuer.Issue(ctx, &batch{Copier: c, guard: guard, notAfter: notAfter}, fit)
	for _, m := range misfits {
		r.Refuse([]blocks.Piece{m.Piece}, m.Outcome)
	}
	return r, nil
}

func (d *Device) side() blocks.Side {
	return blocks.Side{Locks: d.locks, Blocks: d.Namespace.Blocks}
}

// batch makes the commands of one call of Copy.
type batch struct {
	*Copier
	guard     Guard
	notAfter  boottime.Limit
	packer    *Packer
	used      Limits // what the commands of this round are made to
	refreshes int
	pathTries int
}

// slot is what one command in flight needs; there are InFlight of them.
type slot struct {
	copy CopyCommand
	cmd  Command
	buf  [MaxRanges * RangeSize]byte
}

// Room implements [blocks.Protocol].
func (b *batch) Room() *slot { return newSlot() }

func newSlot() *slot { return new(slot) }

// Round implements [blocks.Protocol]: packs within the limits of now.
func (b *batch) Round(ctx context.Context, left *blocks.Queue, again []blocks.Outcome) blocks.Outcome {
	if o := b.prepare(ctx, again); o.Action != blocks.ActionDone {
		return o
	}
	b.used = b.Limits()
	packer, err := packerOf(b.used, left)
	if err != nil {
		return blocks.Outcome{Action: blocks.ActionNotSupported, Reason: "limit:zero", Err: err}
	}
	packer.zone = b.dev.ZoneBlocks
	b.packer = packer
	return blocks.Outcome{}
}

// Make implements [blocks.Protocol]. The guard comes last.
func (b *batch) Make(s *slot) blocks.Outcome {
	b.packer.Next(&s.copy)
	err := b.encode(s)
	if err == nil {
		err = b.guard(&s.copy)
	}
	if err != nil {
		return blocks.Refused(err)
	}
	s.cmd.Timeout, s.cmd.NotAfter = b.opts.Timeout, b.notAfter
	return blocks.Outcome{}
}

// encode makes the wire form of a command in its slot.
func (b *batch) encode(s *slot) error {
	if b.src == b.dev {
		return s.copy.Encode(&s.cmd, b.dev.NSID, s.buf[:])
	}
	return s.copy.EncodeFrom(&s.cmd, b.src.NSID, b.dev.NSID, s.buf[:])
}

// Pieces implements [blocks.Protocol]: one for each range.
func (b *batch) Pieces(s *slot) []blocks.Piece { return s.copy.pieces() }

// Send implements [blocks.Protocol].
func (b *batch) Send(ctx context.Context, s *slot) blocks.Outcome {
	completion, err := b.dev.Transport.IO(ctx, &s.cmd)
	return Judge(completion, err, len(s.copy.Ranges))
}
