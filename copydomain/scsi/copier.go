package scsi

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/dmcopy/dmcopy/copydomain/blocks"
	"github.com/dmcopy/dmcopy/internal/boottime"
)

// DefaultCommandBytes is what one command copies at most, unless told otherwise.
const DefaultCommandBytes = 64 << 20

// defaults are what the options have here.
var defaults = blocks.Options{Grace: 30 * time.Second, MaxCommandBytes: DefaultCommandBytes}

// Copier copies pieces from one logical unit to another, or within one. Commands
// go to the destination. It is safe for concurrent use, and Copiers that have a
// Device in common respect each other's batches and fences.
type Copier struct {
	copying[Limits]
	issuer blocks.Issuer[*slot]
	ids    *listIDs
}

// NewCopier prepares copies from src to dst, which Span found able.
func NewCopier(src, dst *Device, opts blocks.Options) (*Copier, error) {
	limits, support := Span(src, dst)
	if support.Able != blocks.Yes {
		return nil, opError("new copier", dst.String(), fmt.Errorf("%w: %s (%s)", blocks.ErrNotSupported, support.Reason, support.Detail))
	}
	opts = opts.Or(defaults)
	c := &Copier{copying: copying[Limits]{src: src, dst: dst, opts: opts}, ids: &identifiers}
	c.sizes.Set(limits.Cap(opts.MaxCommandBytes, dst.Capacity.BlockSize))
	c.issuer = blocks.Issuer[*slot]{
		Slots:    blocks.Rooms(dst.inFlight(opts.InFlight), c.Room),
		Budget:   opts.Budget,
		Patience: opts.Timeout + opts.Grace,
		Fences:   dst.locks,
		Logger:   opts.Logger,
		Name:     dst.String(),
	}
	return c, nil
}

// InFlight is the number of commands at a time.
func (c *Copier) InFlight() int { return cap(c.issuer.Slots) }

// Copy copies the pieces, which may come in any order, and returns when every
// command has come back or has been given up. When ctx ends no further command is
// issued, but those in flight are still waited for, at most for Timeout and Grace:
// a command cannot be called back.
//
// An error refuses the batch as a whole, before anything is issued: [blocks.ErrOverlap]
// within the batch or with one under way, [blocks.ErrFenced], [blocks.ErrOutOfRange],
// [blocks.ErrInvalid]. Everything later is in the Result.
func (c *Copier) Copy(ctx context.Context, pieces []blocks.Piece) (*blocks.Result, error) {
	return c.CopyGuarded(ctx, pieces, nil, unguarded)
}

// CopyGuarded is Copy with a last look at every command, none of which is begun after
// notAfter.
func (c *Copier) CopyGuarded(ctx context.Context, pieces []blocks.Piece, notAfter boottime.Limit, guard Guard) (*blocks.Result, error) {
	pieces, release, err := c.claim(pieces)
	if err != nil {
		return nil, err
	}
	defer release()
	whole, slivers := split(pieces, c.Limits().Granularity)
	result := c.issuer.Issue(ctx, &batch{Copier: c, guard: guard, notAfter: notAfter}, whole)
	result.Refuse(slivers, blocks.Outcome{Action: blocks.ActionEmulate, Reason: "limit:granularity", Err: errGranularity, Untouched: true})
	return result, nil
}

// batch makes the commands of one call of Copy.
type batch struct {
	*Copier
	guard    Guard
	notAfter boottime.Limit
	packer   *Packer
	used     Limits // what the commands of this round are made to
	retries
}

// slot is what one command in flight needs; there are InFlight of them.
type slot struct {
	list List
	cmd  Command
	cdb  [16]byte
	buf  []byte
	cut  []blocks.Piece
}

// Room implements [blocks.Protocol].
func (c *Copier) Room() *slot {
	s := &slot{buf: make([]byte, headerLID4+2*cscdSize+maxSegments*segmentSize)}
	s.list.Form = c.dst.Form
	s.list.Units = append(s.list.Units, c.dst.unit())
	if c.src != c.dst {
		s.list.Units = append([]Unit{c.src.unit()}, s.list.Units...)
	}
	return s
}

func (d *Device) unit() Unit { return Unit{Designator: d.Name, BlockSize: d.Capacity.BlockSize} }

// encode makes the command of the slot from the pieces in cut.
func (s *slot) encode(id uint32, timeout time.Duration, notAfter boottime.Limit) error {
	s.list.ListID = id
	s.list.Segments = s.list.Segments[:0]
	for _, p := range s.cut {
		s.list.Segments = append(s.list.Segments, Segment{Dst: uint16(len(s.list.Units) - 1), Piece: p})
	}
	n, err := s.list.Encode(s.buf)
	if err != nil {
		return err
	}
	extendedCopy(&s.cdb, s.list.Form, n)
	s.cmd = Command{CDB: s.cdb[:], Data: s.buf[:n], NotAfter: notAfter, Timeout: timeout}
	return nil
}

// Round implements [blocks.Protocol]: does what the answers ask for, and packs within
// the limits of now.
func (b *batch) Round(ctx context.Context, left *blocks.Queue, again []blocks.Outcome) blocks.Outcome {
	if o := b.prepare(ctx, again, func() bool { return b.sizes.Shrink(b.used) }, b.src, b.dst); o.Action != blocks.ActionDone {
		return o
	}
	b.used = b.Limits()
	packer, err := packerOf(b.used, left)
	if err != nil {
		return blocks.Outcome{Action: blocks.ActionNotSupported, Reason: "limit:zero", Err: err}
	}
	b.packer = packer
	return blocks.Outcome{}
}

var (
	// errNoListID: 255 commands are under way, or lost.
	errNoListID = errors.New("all list identifiers are in use")
	// errGranularity: blocks that a target cannot copy because they do not fill its smallest unit.
	errGranularity = errors.New("shorter than the granularity of the target")
)

// Make implements [blocks.Protocol]. The guard comes last.
func (b *batch) Make(s *slot) blocks.Outcome {
	s.cut = b.packer.Next(s.cut[:0])
	var id uint32
	if !b.dst.Parameters.NoListID {
		if id = b.ids.take(); id == 0 {
			return blocks.Outcome{Action: blocks.ActionBackOff, Reason: "device:list-id", Err: errNoListID, Untouched: true}
		}
	}
	err := s.encode(id, b.opts.Timeout, b.notAfter) // from here on the identifier is the slot's
	if err == nil {
		err = b.guard(s.cut)
	}
	if err != nil {
		return blocks.Refused(err)
	}
	return blocks.Outcome{}
}

// Pieces implements [blocks.Protocol].
func (b *batch) Pieces(s *slot) []blocks.Piece { return s.cut }

// Send implements [blocks.Protocol].
func (b *batch) Send(ctx context.Context, s *slot) blocks.Outcome {
	return Judge(b.dst.Transport.Do(ctx, &s.cmd))
}

// Landed implements [blocks.Protocol]: a pair that has never copied and does not reach
// a unit will not do so later.
func (b *batch) Landed(s *slot, o blocks.Outcome) blocks.Outcome {
	b.ids.give(s.list.ListID)
	s.list.ListID = 0
	return b.landed(o, &b.retries, unreachable(o))
}
