package offload

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/dmcopy/dmcopy/copydomain"
	"github.com/dmcopy/dmcopy/internal/boottime"
	"github.com/dmcopy/dmcopy/internal/dispatch/plan"
	"github.com/dmcopy/dmcopy/internal/dispatch/window"
	"github.com/dmcopy/dmcopy/remap"
)

// pairState issues commands for a pair of leaves.
type pairState struct {
	copier copydomain.Copier
	disk   string // that is written, whatever the path to it
	// allowed is the batch that is being issued.
	allowed atomic.Pointer[window.Batch]
}

// pair returns the state of a pair, which has a copier from its first use on.
func (o *Offloader) pair(ctx context.Context, key plan.Key, pair copydomain.Pair) (*pairState, error) {
	if st := o.pairs[key]; st != nil {
		return st, nil
	}
	st := &pairState{disk: plan.DiskOf(pair.Dst)}
	var err error
	st.copier, err = o.machine.Copier(ctx, pair, copydomain.CopyOptions{
		InFlight: o.opts.InFlight,
		User:     o,
		Timeout:  o.opts.Timeout,
		Allowed:  st.check,
		NotAfter: st.notAfter,
		Log:      o.log,
	})
	if err == nil {
		o.pairs[key] = st
	}
	return st, err
}

var errOutside = errors.New("command would write outside of the planned extents")

// check is the last assertion before a command is issued: it writes nothing
// but what the plan says.
func (st *pairState) check(dst, length remap.Sector) error {
	if b := st.allowed.Load(); b == nil || !b.Covers(dst.Bytes(), length.Bytes()) {
		return fmt.Errorf("%w: %d sectors at %d", errOutside, length, dst)
	}
	return nil
}

// notAfter is the moment after which no command of the batch that is being issued is begun.
// Without one nothing is begun.
func (st *pairState) notAfter() boottime.Instant {
	b := st.allowed.Load()
	if b == nil {
		return 0
	}
	return b.NotAfter.Instant()
}
