package scsi

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/dmcopy/dmcopy/copydomain/blocks"
)

const (
	// maxFresh is how many tokens that were not taken are replaced by fresh ones
	// before something is written again.
	maxFresh = 3
	// inactivity is for how many seconds tokens are kept that are not used. All of
	// ours are used at once.
	inactivity = 60

	// Bounds of how long to wait before an operation is asked after again.
	shortestDelay = 10 * time.Millisecond
	usualDelay    = 500 * time.Millisecond
	longestDelay  = 2 * time.Second
)

// errNoAccount: a command has succeeded, and there is no telling what it did.
var errNoAccount = errors.New("the target did not report what became of the operation")

// tokenRun is one token copy: first the token, then what it stands for is written,
// until all of it is.
type tokenRun struct {
	*tokenBatch
	slot     *tokenSlot
	pieces   []blocks.Piece
	total    uint64
	deadline time.Time // after which no command is begun

	done    uint64 // blocks, from the beginning
	touched bool   // something may have been written
	token   *Token // nil: there is none
	held    uint64 // blocks that the token stands for and that are not written
	offset  uint64 // blocks of the token that are
	fresh   int    // tokens since something was written
}

func newTokenRun(b *tokenBatch, s *tokenSlot) *tokenRun {
	r := &tokenRun{tokenBatch: b, slot: s, pieces: s.cut, deadline: time.Now().Add(b.opts.Timeout)}
	for _, p := range r.pieces {
		r.total += p.Blocks
	}
	return r
}

func (r *tokenRun) run(ctx context.Context) blocks.Outcome {
	defer r.drop()
	for r.done < r.total {
		if o := r.step(ctx); o.Action != blocks.ActionDone {
			return r.account(o)
		}
	}
	return blocks.Outcome{}
}

func (r *tokenRun) step(ctx context.Context) blocks.Outcome {
	switch {
	case ctx.Err() != nil:
		return blocks.Canceled(ctx.Err())
	case !time.Now().Before(r.deadline):
		return blocks.Outcome{Action: blocks.ActionBackOff, Reason: "device:timeout", Err: blocks.ErrTimeout, Untouched: true}
	case r.token == nil:
		return r.populate(ctx)
	}
	return r.write(ctx)
}

// drop wipes the token.
func (r *tokenRun) drop() {
	r.token.wipe()
	r.token, r.held, r.offset = nil, 0, 0
}

// account says of what was done before which pieces are whole.
func (r *tokenRun) account(o blocks.Outcome) blocks.Outcome {
	left := r.done
	for _, p := range r.pieces {
		if p.Blocks > left {
			break
		}
		left -= p.Blocks
		o.Done++
	}
	o.Untouched = o.Untouched && !r.touched
	return o
}

// part is the n blocks of the pieces that follow what is done.
func (r *tokenRun) part(n uint64) (part []blocks.Piece) {
	skip := r.done
	for _, p := range r.pieces {
		if skip >= p.Blocks {
			skip -= p.Blocks
			continue
		}
		p = p.From(skip)
		p = p.UpTo(min(p.Blocks, n))
		if p.Blocks == 0 {
			break
		}
		part = append(part, p)
		skip, n = 0, n-p.Blocks
	}
	return part
}

func rangesOf(pieces []blocks.Piece, side func(blocks.Piece) blocks.Span) []Range {
	ranges := make([]Range, 0, len(pieces))
	for _, p := range pieces {
		ranges = append(ranges, Range{LBA: side(p).Start, Blocks: uint32(p.Blocks)})
	}
	return ranges
}

// send sends a command with a list and says what to make of the answer.
func (r *tokenRun) send(ctx context.Context, d *Device, c Command) blocks.Outcome {
	c.Timeout, c.NotAfter = r.opts.Timeout, r.notAfter
	return Judge(d.Transport.Do(ctx, &c))
}

// populate gets a token for what is left. Nothing is written, whatever happens: a
// command that is lost needs no fence.
func (r *tokenRun) populate(ctx context.Context) blocks.Outcome {
	want := r.total - r.done
	list := PopulateList{Inactivity: inactivity, Ranges: rangesOf(r.part(want), blocks.Piece.Source)}
	if most := r.used.MaxInactivity; most != 0 {
		list.Inactivity = min(inactivity, most)
	}
	buf := make([]byte, list.Size())
	if _, err := list.Encode(buf); err != nil {
		return blocks.Refused(err)
	}
	id := r.ids.take()
	o := r.send(ctx, r.src, populateToken(id, buf))
	if o.Action == blocks.ActionFence {
		r.slot.lost = append(r.slot.lost, buf)
		o.Action = blocks.ActionBackOff
	}
	var op Operation
	if o.Action == blocks.ActionDone {
		op, o = r.result(ctx, r.src, id, saPopulateToken)
	}
	if o.Action == blocks.ActionFence { // still reading
		o.Action = blocks.ActionBackOff
	}
	if o.Action == blocks.ActionDone && (op.Token == nil || op.Blocks == 0 || op.Blocks > want) {
		o = unaccounted(fmt.Errorf("%w: a token for %d of %d blocks", errNoAccount, op.Blocks, want))
	}
	o.Untouched = true
	if o.Action == blocks.ActionDone {
		r.token, r.held = op.Token, op.Blocks
	} else {
		op.Token.wipe()
	}
	return o
}

func unaccounted(err error) blocks.Outcome {
	return blocks.Outcome{Action: blocks.ActionEmulate, Reason: "device:untold", Err: err}
}

// write writes what the token stands for, or a part of it. A token that is not taken
// any more is dropped, for a fresh one to be made.
func (r *tokenRun) write(ctx context.Context) blocks.Outcome {
	part := r.part(r.held)
	list := WriteList{Offset: r.offset, Token: r.token, Delete: true, Ranges: rangesOf(part, blocks.Piece.Destination)}
	buf := make([]byte, list.Size())
	if _, err := list.Encode(buf); err != nil {
		return blocks.Refused(err)
	}
	id := r.ids.take()
	if err := r.look(part); err != nil {
		clear(buf)
		return blocks.Refused(err)
	}
	o := r.send(ctx, r.dst, writeUsingToken(id, buf))
	if o.Action == blocks.ActionFence {
		o = r.settle(ctx, id, o)
	}
	if o.Action == blocks.ActionFence {
		r.slot.lost = append(r.slot.lost, buf)
		return o
	}
	clear(buf)
	r.touched = r.touched || !o.Untouched
	if tokenEnded(o) && r.fresh < maxFresh {
		r.drop()
		r.fresh++
		return blocks.Outcome{}
	}
	if o.Action != blocks.ActionDone {
		return o
	}
	return r.advance(r.result(ctx, r.dst, id, saWriteUsingToken))
}

// advance counts what was written.
func (r *tokenRun) advance(op Operation, o blocks.Outcome) blocks.Outcome {
	switch {
	case o.Action != blocks.ActionDone:
		return o
	case op.Blocks == 0 || op.Blocks > r.held:
		return unaccounted(fmt.Errorf("%w: %d of %d blocks written", errNoAccount, op.Blocks, r.held))
	}
	r.done, r.offset, r.held, r.fresh = r.done+op.Blocks, r.offset+op.Blocks, r.held-op.Blocks, 0
	if r.held == 0 {
		r.drop()
	}
	return o
}

// result asks what became of an operation whose command has succeeded. The outcome is
// ActionFence if it is still under way when nobody waits any more.
func (r *tokenRun) result(ctx context.Context, d *Device, id uint32, action uint8) (Operation, blocks.Outcome) {
	ctx = context.WithoutCancel(ctx)
	patient := r.deadline.Add(r.opts.Grace / 2)
	end := r.deadline.Add(r.opts.Grace)
	for running := false; ; running = true {
		op, err := d.operation(ctx, id)
		if err == nil && op.Action != action {
			err = opError("receive token information", d.String(), fmt.Errorf("%w: about service action %02xh", blocks.ErrInvalid, op.Action))
		}
		switch now := time.Now(); {
		case err != nil && running:
			return op, blocks.Outcome{Action: blocks.ActionFence, Reason: "device:no-answer", Err: err}
		case err != nil:
			return op, unaccounted(fmt.Errorf("%w: %w", errNoAccount, err))
		case op.State != OperationRunning:
			return op, judgeOperation(op)
		case now.After(end):
			return op, blocks.Outcome{Action: blocks.ActionFence, Reason: "device:timeout", Err: blocks.ErrTimeout}
		case now.After(patient):
			d.abort(ctx, id)
		}
		wait(op.Delay)
	}
}

// judgeOperation says what to make of an operation that has ended.
func judgeOperation(op Operation) blocks.Outcome {
	switch op.State {
	case OperationDone:
		return blocks.Outcome{}
	case OperationTerminated:
		return blocks.Outcome{Action: blocks.ActionEmulate, Reason: "device:terminated", Err: errTerminated}
	}
	o := Judge(Completion{Status: op.Status, Sense: op.Sense}, nil)
	if o.Action == blocks.ActionDone || o.Action == blocks.ActionFence {
		o = blocks.Outcome{Action: blocks.ActionEmulate, Reason: "device:operation-failed", Err: errFailed}
	}
	o.Untouched = false
	return o
}

var (
	errTerminated = errors.New("the operation was terminated")
	errFailed     = errors.New("the operation has failed")
)

// settle finds out whether a WRITE USING TOKEN without an answer has ended: the
// target knows it by its list identifier. One that is still under way has had its
// time, and is aborted. What has ended is redone, however it has ended.
func (r *tokenRun) settle(ctx context.Context, id uint32, o blocks.Outcome) blocks.Outcome {
	ctx = context.WithoutCancel(ctx)
	for end := time.Now().Add(r.opts.Grace); time.Now().Before(end); {
		op, err := r.dst.operation(ctx, id)
		switch {
		case err != nil || op.Action != saWriteUsingToken:
			return o
		case op.State != OperationRunning:
			return blocks.Outcome{Action: blocks.ActionEmulate, Reason: o.Reason, Err: o.Err}
		}
		r.dst.abort(ctx, id)
		wait(op.Delay)
	}
	return o
}

// wait until an operation is asked after again.
func wait(told time.Duration) {
	if told == 0 {
		told = usualDelay
	}
	time.Sleep(min(max(told, shortestDelay), longestDelay))
}

// operation asks what became of a token copy. A target may tell that once only. The
// token of anything but POPULATE TOKEN is wanted by nobody.
func (d *Device) operation(ctx context.Context, id uint32) (op Operation, err error) {
	err = ask(ctx, d.Transport, "receive token information", receiveToken(id), func(b []byte) (err error) {
		op, err = ParseOperation(b, d.Capacity.BlockSize)
		clear(b[:cap(b)])
		return err
	})
	if op.Action != saPopulateToken {
		op.Token.wipe()
		op.Token = nil
	}
	return op, err
}

// abort asks the target to end a token copy. Whether it does, and what became of it,
// has to be asked for.
func (d *Device) abort(ctx context.Context, id uint32) {
	_ = ask(ctx, d.Transport, "copy operation abort", abortOperation(id), nothing)
}
