package nvme

import (
	"context"
	"slices"
	"time"

	"github.com/dmcopy/dmcopy/copydomain/blocks"
)

// Bounds of trying again after a path has failed.
const (
	// maxPathTries bounds the rounds in a row in which a path fails and no
	// command succeeds.
	maxPathTries = 4
	// pathPause is how long the first of them waits; each one waits twice as long
	// as the one before. The kernel learns by an event of the controller which paths
	// it can use, and then chooses another one for the next command.
	pathPause = 50 * time.Millisecond
)

// Landed implements [blocks.Protocol]. The kernel moves reads and writes of the block
// layer from a path that fails to another one, but not the commands of programs
// (drivers/nvme/host/ioctl.c, nvme_alloc_user_request), so that is done here. A command
// that a path lost sight of is none of these: its fate is unknown.
func (b *batch) Landed(_ *slot, o blocks.Outcome) blocks.Outcome {
	if b.dev.zoned() {
		o = inZones(o)
	}
	switch {
	case o.Action == blocks.ActionDone:
		b.pathTries = 0
	case o.Action == blocks.ActionRetryPath && b.pathTries < maxPathTries:
		b.opts.Logger.Info("path failed: trying again", "device", b.issuer.Name, "reason", o.Reason, "error", o.Err)
		o.Action = blocks.ActionRetry
	}
	return o
}

// prepare does what the answers ask for before their blocks are sent again.
func (b *batch) prepare(ctx context.Context, again []blocks.Outcome) blocks.Outcome {
	wanted := func(a blocks.Action) bool {
		return slices.ContainsFunc(again, func(o blocks.Outcome) bool { return o.Action == a })
	}
	if wanted(blocks.ActionRetry) {
		b.pathTries++
		if err := blocks.Pause(ctx, pathPause<<(b.pathTries-1)); err != nil {
			return blocks.Canceled(err)
		}
	}
	if wanted(blocks.ActionShrink) {
		return b.refresh(ctx)
	}
	return blocks.Outcome{}
}
