package scsi

import (
	"sync"

	"github.com/dmcopy/dmcopy/copydomain/blocks"
)

// Guard is called with the pieces of each command right before it is issued. After
// an error neither the command nor the rest of its batch is issued. It is the place to
// assert that the blocks lie where the layout, read again, says. Calls for one
// batch come one at a time. The slice must not be kept.
type Guard func([]blocks.Piece) error

// unguarded is the Guard of who has nothing to assert.
func unguarded([]blocks.Piece) error { return nil }

// copying is what copies from one logical unit to another, or within one, have in
// common, by whichever commands. L are the limits of these.
type copying[L blocks.Limits[L]] struct {
	src, dst *Device
	opts     blocks.Options
	sizes    blocks.Sizes[L]

	mu     sync.Mutex
	copied bool // a command of this pair has succeeded
}

// Limits that the next commands will be made to.
func (c *copying[L]) Limits() L { return c.sizes.Limits() }

// claim locks the blocks of a batch until release is called.
func (c *copying[L]) claim(pieces []blocks.Piece) (sorted []blocks.Piece, release func(), err error) {
	if sorted, release, err = blocks.Claim(c.src.side(), c.dst.side(), pieces); err != nil {
		return nil, nil, opError("copy", c.dst.String(), err)
	}
	return sorted, release, nil
}

// landed takes what the pair has done before into account. hopeless is an outcome that
// will not be another one later if it is that of a pair which has never copied.
func (c *copying[L]) landed(o blocks.Outcome, r *retries, hopeless bool) blocks.Outcome {
	c.mu.Lock()
	defer c.mu.Unlock()
	if o.Action == blocks.ActionDone {
		c.copied, r.tries = true, 0
	}
	if hopeless && !c.copied {
		o.Action = blocks.ActionNotSupported
	}
	return o
}

func (d *Device) side() blocks.Side { return blocks.Side{Locks: d.locks, Blocks: d.Capacity.Blocks} }

// inFlight is the number of commands that the target takes at a time, at most n.
func (d *Device) inFlight(n int) int {
	if t := int(d.Parameters.TotalConcurrent); t > 0 {
		n = min(n, t)
	}
	if m := int(d.Parameters.MaxConcurrent); m > 0 {
		n = min(n, m)
	}
	return n
}
