package blocks

import (
	"cmp"
	"slices"
)

// Failure is a piece that was not copied, or not for sure.
type Failure struct {
	Piece
	Action Action
	Reason string // slug, e.g. "device:status-0x281"
	Err    error

	// Untouched: nothing was written to the piece's destination by this batch.
	// Otherwise any part of it may have been.
	Untouched bool
}

// Result accounts for every block of a batch, exactly once.
type Result struct {
	// Done was reported as copied, in the order of the destination. The bytes
	// may still be in the volatile cache of the device.
	Done []Piece

	// Redo has to be copied in another way, as far as Action allows, in the
	// order of the destination. The command behind each piece has ended, or
	// was not issued.
	Redo []Failure

	// Fenced must not be touched: the device may still write there.
	Fenced []*Fence

	// Commands that were issued.
	Commands int

	// Again counts how often commands were sent again, for whatever reason.
	Again int
}

// Refuse adds pieces that no command was made for.
func (r *Result) Refuse(pieces []Piece, o Outcome) {
	for _, p := range pieces {
		r.fail(p, o, o.Untouched)
	}
	r.sort()
}

func (r *Result) fail(p Piece, o Outcome, untouched bool) {
	r.Redo = append(r.Redo, Failure{Piece: p, Action: o.Action, Reason: o.Reason, Err: o.Err, Untouched: untouched})
}

func (r *Result) sort() {
	r.Done = SortByDestination(r.Done)
	slices.SortFunc(r.Redo, func(x, y Failure) int { return cmp.Compare(x.DstLBA, y.DstLBA) })
}
