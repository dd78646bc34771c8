package scsi_test

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/dmcopy/dmcopy/copydomain/blocks"
	"github.com/dmcopy/dmcopy/copydomain/scsi"
	"github.com/dmcopy/dmcopy/test/target"
)

// TestTokenCopyLosesNothing: whatever pieces, limits and honest faults, every block is
// accounted for once, what is said to be done is right, and nothing else is written.
func TestTokenCopyLosesNothing(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		limits := target.TokenLimits{
			Ranges:         rapid.Uint16Range(1, 8).Draw(rt, "ranges"),
			TransferBlocks: rapid.Uint64Range(1, 500).Draw(rt, "blocks"),
			DefaultTimeout: 60, MaxTimeout: 600,
		}
		two := rapid.Bool().Draw(rt, "two units")
		r := newTokenRig(t, two, blocks.Options{InFlight: rapid.IntRange(1, 3).Draw(rt, "in flight")}, func(c *target.Config) { c.Tokens = &limits })
		for range rapid.IntRange(0, 6).Draw(rt, "faults") {
			r.target.Inject(drawFault(rt))
		}
		if r.check(drawMoves(rt)...); t.Failed() {
			rt.FailNow()
		}
	})
}

// drawMoves: pieces whose destinations lie in the upper half, apart from each other,
// and whose sources are anywhere in the lower one.
func drawMoves(rt *rapid.T) (all []blocks.Piece) {
	at := uint64(unitBlocks / 2)
	for range rapid.IntRange(1, 8).Draw(rt, "pieces") {
		at += rapid.Uint64Range(0, 20).Draw(rt, "gap")
		n := rapid.Uint64Range(1, 200).Draw(rt, "length")
		all = append(all, move(rapid.Uint64Range(0, unitBlocks/2-n).Draw(rt, "from"), at, n))
		at += n
	}
	return all
}

// drawFault: what a target does that says so, or that can be told from what it says.
func drawFault(rt *rapid.T) target.Fault {
	f := target.Fault{
		Command: rapid.SampledFrom([]string{"populate-token", "write-using-token", "receive-token"}).Draw(rt, "command"),
		Skip:    rapid.IntRange(0, 5).Draw(rt, "skip"),
		Times:   rapid.IntRange(1, 5).Draw(rt, "times"),
	}
	switch rapid.IntRange(0, 6).Draw(rt, "what") {
	case 0, 1:
		f.Short = rapid.Uint64Range(1, 300).Draw(rt, "short")
	case 2:
		f.Expire = true
	case 3:
		f.Revoke = true
	case 4:
		f.Sense = rapid.SampledFrom([]scsi.SenseCode{
			{Key: scsi.IllegalRequest, ASC: 0x23, ASCQ: 4}, {Key: scsi.IllegalRequest, ASC: 0x26}, {Key: scsi.IllegalRequest, ASCQ: 0x16},
			{Key: scsi.UnitAttention, ASC: 0x29}, {Key: scsi.MediumError, ASC: 0x11}, {Key: scsi.IllegalRequest, ASC: 0x55, ASCQ: 0x0D},
			{Key: scsi.AbortedCommand, ASC: 0x47}, {Key: scsi.IllegalRequest, ASC: 0x24},
		}).Draw(rt, "sense")
	case 5:
		f.Residual = rapid.IntRange(1, 600).Draw(rt, "residual")
	case 6:
		f.Status = scsi.ReservationConflict
	}
	return f
}
