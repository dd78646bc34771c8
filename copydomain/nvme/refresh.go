package nvme

import (
	"context"
	"errors"
	"math"

	"github.com/dmcopy/dmcopy/copydomain/blocks"
)

// maxRefreshes bounds the rounds of one batch. Halving needs at most 32, so only
// a device that reports other limits each time gets here.
const maxRefreshes = 40

// refresh follows a Command Size Limit Exceeded: it reads the limits again and, when
// the device reports what it reported before, halves them.
func (b *batch) refresh(ctx context.Context) blocks.Outcome {
	b.refreshes++
	refused := blocks.Outcome{Action: blocks.ActionNotSupported, Reason: "device:status-0x183", Err: StatusCommandSizeLimit}
	if b.refreshes > maxRefreshes {
		return refused
	}
	now, err := b.reread(ctx)
	switch {
	case ctx.Err() != nil:
		return blocks.Canceled(ctx.Err())
	case errors.Is(err, blocks.ErrChanged):
		return blocks.Outcome{Action: blocks.ActionReresolve, Reason: "device:changed", Err: err}
	case err != nil:
		return blocks.Outcome{Action: blocks.ActionBackOff, Reason: refused.Reason, Err: err}
	case !b.adjust(now, b.used):
		return refused
	}
	return blocks.Outcome{}
}

// reread asks for the limits of both namespaces. Anything else that is not as it
// was is [blocks.ErrChanged].
func (c *Copier) reread(ctx context.Context) (Limits, error) {
	limits := Limits{math.MaxUint32, math.MaxUint32, MaxRanges}
	for _, d := range []*Device{c.dev, c.src} {
		now, err := readNamespace(ctx, d.Transport, d.NSID)
		if err != nil {
			return Limits{}, err
		}
		if !d.Namespace.same(now) {
			return Limits{}, blocks.ErrChanged
		}
		limits = limits.Min(now.Limits)
		if c.src == c.dev {
			break
		}
	}
	return limits, nil
}

// same: nothing but the limits differs.
func (n Namespace) same(o Namespace) bool {
	o.Limits = n.Limits
	return n == o
}

// adjust sets the limits of the next round and says whether there can be one.
func (c *Copier) adjust(reported, used Limits) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if reported != c.reported {
		c.reported = reported
		limits := reported.Cap(c.opts.MaxCommandBytes, c.dev.Namespace.BlockSize)
		c.sizes.Set(limits)
		return limits.Valid()
	}
	return c.sizes.Shrink(used)
}
