package copydomain

import (
	"testing"

	"github.com/dmcopy/dmcopy/copydomain/blocks"
	"github.com/dmcopy/dmcopy/remap"
)

// TestCanceledIsNotBegun: what may have been written in part was begun, although
// the batch ended, or the time was over, before it was tried again.
func TestCanceledIsNotBegun(t *testing.T) {
	done := &blocks.Result{Redo: []blocks.Failure{
		{Piece: blocks.Piece{Blocks: 1}, Action: blocks.ActionCanceled, Untouched: true},
		{Piece: blocks.Piece{SrcLBA: 1, DstLBA: 1, Blocks: 1}, Action: blocks.ActionCanceled},
		{Piece: blocks.Piece{SrcLBA: 2, DstLBA: 2, Blocks: 1}, Action: blocks.ActionExpired, Untouched: true},
		{Piece: blocks.Piece{SrcLBA: 3, DstLBA: 3, Blocks: 1}, Action: blocks.ActionExpired},
	}}
	got := result(done, 1, func(blocks.Failure) remap.Reason { return "canceled" }).Redo
	if got[0].Action != ActionCanceled || got[1].Action != ActionEmulate || got[2].Action != ActionExpired || got[3].Action != ActionEmulate {
		t.Errorf("%+v", got)
	}
}
