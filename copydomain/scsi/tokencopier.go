package scsi

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"

	"github.com/dmcopy/dmcopy/copydomain/blocks"
	"github.com/dmcopy/dmcopy/internal/boottime"
)

// TokenCopier copies pieces from one logical unit to another, or within one, by
// tokens: the source gives out a token for some blocks, and the destination takes it
// for the data. It is safe for concurrent use, and respects the batches and fences of
// others that have a Device in common with it.
type TokenCopier struct {
	copying[TokenLimits]
	issuer blocks.Issuer[*tokenSlot]
	ids    *tokenIDs
}

// NewTokenCopier prepares copies from src to dst, which SpanTokens found able.
// blocks.Options.Timeout bounds each of the commands of a token copy, and the time after
// which no further one is begun.
func NewTokenCopier(src, dst *Device, opts blocks.Options) (*TokenCopier, error) {
	limits, support := SpanTokens(src, dst)
	if support.Able != blocks.Yes {
		return nil, opError("new token copier", dst.String(), fmt.Errorf("%w: %s (%s)", blocks.ErrNotSupported, support.Reason, support.Detail))
	}
	opts = opts.Or(defaults)
	c := &TokenCopier{copying: copying[TokenLimits]{src: src, dst: dst, opts: opts}, ids: &tokenIdentifiers}
	c.sizes.Set(limits.Cap(opts.MaxCommandBytes, dst.Capacity.BlockSize))
	c.issuer = blocks.Issuer[*tokenSlot]{
		Slots:  blocks.Rooms(dst.inFlight(opts.InFlight), c.Room),
		Budget: opts.Budget,
		// One that is begun at the last moment, and asked after.
		Patience: 2 * (opts.Timeout + opts.Grace),
		Fences:   dst.locks,
		Logger:   opts.Logger,
		Name:     dst.String(),
	}
	return c, nil
}

// InFlight is the number of token copies at a time.
func (c *TokenCopier) InFlight() int { return cap(c.issuer.Slots) }

// Copy copies the pieces as [Copier.Copy] does.
func (c *TokenCopier) Copy(ctx context.Context, pieces []blocks.Piece) (*blocks.Result, error) {
	return c.CopyGuarded(ctx, pieces, nil, unguarded)
}

// CopyGuarded is Copy with a last look at every command that writes. Neither a token is
// asked for nor one is written after notAfter.
func (c *TokenCopier) CopyGuarded(ctx context.Context, pieces []blocks.Piece, notAfter boottime.Limit, guard Guard) (*blocks.Result, error) {
	pieces, release, err := c.claim(pieces)
	if err != nil {
		return nil, err
	}
	defer release()
	return c.issuer.Issue(ctx, &tokenBatch{TokenCopier: c, guard: guard, notAfter: notAfter}, pieces), nil
}

// tokenSlot is what one token copy needs; there are InFlight of them.
type tokenSlot struct {
	cut []blocks.Piece
	// lost are the parameter lists of commands that did not come back: an adapter
	// may still read them, so their memory is not used for anything else.
	lost [][]byte
}

// tokenBatch makes the token copies of one call of Copy.
type tokenBatch struct {
	*TokenCopier
	guarding sync.Mutex
	guard    Guard
	notAfter boottime.Limit
	left     *blocks.Queue
	used     TokenLimits // what the tokens of this round are made to
	retries
}

// look is the last one before something is written.
func (b *tokenBatch) look(pieces []blocks.Piece) error {
	b.guarding.Lock()
	defer b.guarding.Unlock()
	return b.guard(pieces)
}

// Room implements [blocks.Protocol].
func (c *TokenCopier) Room() *tokenSlot { return &tokenSlot{} }

// Round implements [blocks.Protocol].
func (b *tokenBatch) Round(ctx context.Context, left *blocks.Queue, again []blocks.Outcome) blocks.Outcome {
	if o := b.prepare(ctx, again, func() bool { return b.sizes.Shrink(b.used) }, b.src, b.dst); o.Action != blocks.ActionDone {
		return o
	}
	b.used, b.left = b.Limits(), left
	return blocks.Outcome{}
}

// Make implements [blocks.Protocol]: as many pieces as fit into a token. No block of
// the source is in one token twice, which the standard forbids (SBC-3, 5.12.2).
func (b *tokenBatch) Make(s *tokenSlot) blocks.Outcome {
	s.cut = s.cut[:0]
	room := b.used.Blocks
	for !b.left.Empty() && room > 0 && len(s.cut) < int(b.used.Ranges) {
		p := b.left.Front()
		p = p.UpTo(min(p.Blocks, room, math.MaxUint32))
		if meets(s.cut, p) {
			break
		}
		s.cut = append(s.cut, p)
		room -= p.Blocks
		b.left.Take(p.Blocks)
	}
	return blocks.Outcome{}
}

// meets: a source block of p is one of the pieces, too.
func meets(pieces []blocks.Piece, p blocks.Piece) bool {
	for _, o := range pieces {
		if p.SrcLBA < o.SrcLBA+o.Blocks && o.SrcLBA < p.SrcLBA+p.Blocks {
			return true
		}
	}
	return false
}

// Pieces implements [blocks.Protocol].
func (b *tokenBatch) Pieces(s *tokenSlot) []blocks.Piece { return s.cut }

// Send implements [blocks.Protocol].
func (b *tokenBatch) Send(ctx context.Context, s *tokenSlot) blocks.Outcome {
	return newTokenRun(b, s).run(ctx)
}

// Landed implements [blocks.Protocol]: a pair that has never copied, and takes no token
// or tells nothing, will not do so later.
func (b *tokenBatch) Landed(_ *tokenSlot, o blocks.Outcome) blocks.Outcome {
	return b.landed(o, &b.retries, o.Action == blocks.ActionEmulate && (tokenEnded(o) || errors.Is(o.Err, errNoAccount)))
}

// tokenEnded: the target does not take a token any more that it has given out. One
// for the same blocks may do.
func tokenEnded(o blocks.Outcome) bool {
	var a Answer
	return o.Action == blocks.ActionEmulate && errors.As(o.Err, &a) && a.HasSense && a.Sense.Key == IllegalRequest && a.Sense.ASC == 0x23
}
