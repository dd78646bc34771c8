package copydomain

import (
	"fmt"

	"github.com/dmcopy/dmcopy/copydomain/blocks"
	"github.com/dmcopy/dmcopy/remap"
)

// What copies by commands have in common: stacks are counted in sectors, commands
// in blocks of unit sectors.

// user is what shares a budget as one.
func user(opt CopyOptions, alone any) any {
	if opt.User == nil {
		return alone
	}
	return opt.User
}

// pieces are moves as commands take them.
func pieces(moves []Move, unit remap.Sector) ([]blocks.Piece, error) {
	all := make([]blocks.Piece, 0, len(moves))
	for _, m := range moves {
		if (m.Src|m.Dst|m.Len)%unit != 0 {
			return nil, fmt.Errorf("copydomain: move of %d sectors from %d to %d does not fit blocks of %d sectors", m.Len, m.Src, m.Dst, unit)
		}
		all = append(all, blocks.Piece{
			SrcLBA: uint64(m.Src / unit),
			DstLBA: uint64(m.Dst / unit),
			Blocks: uint64(m.Len / unit),
		})
	}
	return all, nil
}

// move is the inverse of pieces.
func move(p blocks.Piece, unit remap.Sector) Move {
	return Move{
		Src: remap.Sector(p.SrcLBA) * unit,
		Dst: remap.Sector(p.DstLBA) * unit,
		Len: remap.Sector(p.Blocks) * unit,
	}
}

// result translates what became of a batch.
func result(done *blocks.Result, unit remap.Sector, reason func(blocks.Failure) remap.Reason) Result {
	r := Result{Commands: int64(done.Commands)}
	for _, f := range done.Redo {
		r.Redo = append(r.Redo, Redo{move(f.Piece, unit), reason(f), f.Err, action(f)})
	}
	for _, fence := range done.Fenced {
		for _, p := range fence.Pieces {
			r.Fenced = append(r.Fenced, Redo{move(p, unit), remap.Reason(fence.Reason), fence.Err, ActionSurface})
		}
	}
	return r
}

// action reduces what a failed command means to what concerns the caller. A device that
// is short of something, or a lost path, concerns this run only: the next window offers
// the pair again.
func action(f blocks.Failure) Action {
	switch f.Action {
	case ActionNotSupported, ActionReresolve, ActionSurface:
		return f.Action
	case ActionCanceled, ActionExpired:
		if f.Untouched {
			return f.Action
		}
	}
	return ActionEmulate
}
