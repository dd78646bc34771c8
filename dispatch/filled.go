package dispatch

import (
	"context"
	"fmt"

	"github.com/dmcopy/dmcopy/internal/dispatch/account"
	"github.com/dmcopy/dmcopy/internal/dispatch/byterange"
	"github.com/dmcopy/dmcopy/internal/dispatch/ends"
	"github.com/dmcopy/dmcopy/internal/dispatch/failure"
	"github.com/dmcopy/dmcopy/internal/dispatch/hostcopy"
)

// filled fails if a destination file has holes where data was copied to. Whoever cuts a file off, or
// collapses a part of it, and makes it as long again, between two looks at its length, or punches a hole
// into it, leaves some. Where runs of zeroes are written as holes ([Options.Sparse]) that tells nothing.
func (v *verifier) filled(ctx context.Context) error {
	if v.job.Dst.Holes == nil || v.opts.Sparse || v.job.Src.Device.ID() == v.job.Dst.Device.ID() {
		return nil
	}
	var holes []byterange.Range
	for step, err := range v.layout.Plan().Steps(ctx, v.job.Ranges) {
		if err != nil {
			return failure.During("verify", err)
		}
		if step.Method == account.Zero || step.Method == account.Skip {
			continue
		}
		g := byterange.Range{Src: step.SrcOff, Dst: step.DstOff, Len: step.Len}
		holes = append(holes, v.unfilled(g)...)
	}
	holes = v.host.Readable(holes)
	if len(holes) == 0 {
		return nil
	}
	found, err := v.compare(ctx, holes)
	if err == nil {
		err = hostcopy.Lost(found.Failures)
	}
	if err == nil && len(found.Mismatches) > 0 {
		err = fmt.Errorf("%w: %s has a hole at byte %d, where data was copied to: somebody has cut it off, or taken out a part of it, and it is no copy: copy again",
			failure.ErrTaken, failure.Shown(v.job.Dst.Name), found.Mismatches[0].Dst)
	}
	return failure.During("verify", err)
}

// unfilled lists the parts of a range where the destination has a hole, and the source has none, as
// far as is known.
func (v *verifier) unfilled(g byterange.Range) (parts []byterange.Range) {
	for hole, is := range ends.Parts(v.job.Dst.Holes, g.Dst, g.Len) {
		if !is {
			continue
		}
		for data, empty := range ends.Parts(v.job.Src.Holes, g.Src+hole.Off, hole.Len) {
			if from := hole.Off + data.Off; !empty {
				parts = append(parts, g.Part(from, from+data.Len))
			}
		}
	}
	return parts
}
