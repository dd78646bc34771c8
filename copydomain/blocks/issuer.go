package blocks

import (
	"context"
	"log/slog"
	"slices"
	"time"
)

// Protocol makes and sends the commands of one batch. S is the room for one
// command: what it is made of, and its wire form. All calls but those of Send come
// one at a time.
type Protocol[S any] interface {
	// Room returns room for one command more.
	Room() S

	// Round comes before commands are made from left. The answers that made
	// blocks come again are in again, which is empty the first time. An outcome
	// other than ActionDone keeps what is left from being issued.
	Round(ctx context.Context, left *Queue, again []Outcome) Outcome

	// Make makes the next command of the round in slot and takes a last look at
	// it. It is not sent if the outcome is other than ActionDone.
	Make(slot S) Outcome

	// Pieces are what the command copies, in its order.
	Pieces(slot S) []Piece

	// Send blocks until the kernel returns the command, which may be never. An
	// outcome other than ActionFence means that the device is known to be
	// through with it.
	Send(ctx context.Context, slot S) Outcome

	// Landed makes the final outcome of a command that has ended, or was not sent.
	// Its slot is used again.
	Landed(slot S, o Outcome) Outcome
}

// Issuer sends commands to a device, bounded in number and in time.
type Issuer[S any] struct {
	// Slots holds the room for as many commands as may be under way at once. It
	// is full while none is. Issuers may share it.
	Slots chan S

	// Budget is that of the copy domain; it may be nil.
	Budget *Budget

	// Patience is how long a command may take to come back. One that needs
	// longer is fenced.
	Patience time.Duration

	// Fences is the Locks of the device that is written.
	Fences *RangeLocks

	// Logger is told what ends a batch early, and Name of which device.
	Logger *slog.Logger
	Name   string
}

// Rooms is room for n commands, as an Issuer has it.
func Rooms[S any](n int, room func() S) chan S {
	rooms := make(chan S, n)
	for range n {
		rooms <- room()
	}
	return rooms
}

// Issue copies the pieces, which a [Claim] has returned, and returns when every
// command has come back or has been given up. When ctx ends no further command is
// issued, but those in flight are still waited for, as long as Patience allows: a
// command cannot be called back.
func (i *Issuer[S]) Issue(ctx context.Context, p Protocol[S], pieces []Piece) *Result {
	b := &batch[S]{Issuer: i, protocol: p, pending: pieces, landed: make(chan *flight[S], cap(i.Slots))}
	for len(b.pending) > 0 && b.cause == nil {
		b.round(ctx)
	}
	for _, p := range b.pending {
		b.result.fail(p, *b.cause, !b.torn)
	}
	b.result.sort()
	return &b.result
}

// flight is a command on its way.
type flight[S any] struct {
	slot     S
	deadline time.Time

	outcome Outcome       // is set before ended or landed
	ended   chan struct{} // closed if the device is known to be through with it
}

// fly reports to landed, which has room for it even if nobody waits any more.
func (f *flight[S]) fly(ctx context.Context, p Protocol[S], landed chan<- *flight[S]) {
	f.outcome = p.Send(ctx, f.slot)
	if f.outcome.Action != ActionFence {
		close(f.ended)
	}
	landed <- f
}

// batch is one call of Issue. Only the goroutine of the caller touches it.
type batch[S any] struct {
	*Issuer[S]
	protocol Protocol[S]
	result   Result
	pending  []Piece  // not yet made into commands, in order of destination
	cause    *Outcome // why the rest is not issued, nil while it is
	torn     bool     // something of pending may have been written

	next  S    // for the next command
	taken bool // whether there is next

	left   *Queue       // of pending, in this round
	flying []*flight[S] // in the order of issue, hence of deadlines
	landed chan *flight[S]
	again  []Piece   // of this round, to be tried once more
	why    []Outcome // the answers to them
}

// round issues what is pending until all is done, until the device wants something
// again, or until something stops the batch. What is left is pending again.
func (b *batch[S]) round(ctx context.Context) {
	if len(b.why) > 0 {
		b.result.Again++
	}
	b.left = &Queue{rest: b.pending}
	if o := b.protocol.Round(ctx, b.left, b.why); o.Action != ActionDone {
		b.stop(o)
		return
	}
	b.again, b.why = nil, nil
	b.pump(ctx)
	b.pending = SortByDestination(b.left.Rest(slices.Clone(b.again)))
	for _, o := range b.why {
		b.torn = b.torn || !o.Untouched
	}
}

// pump keeps commands in flight, and returns when none is.
func (b *batch[S]) pump(ctx context.Context) {
	wake := ctx.Done()
	timer := time.NewTimer(b.Patience)
	defer timer.Stop()
	defer b.putBack()
	for {
		if err := ctx.Err(); err != nil {
			wake = nil
			b.stop(Canceled(err))
		}
		more := b.cause == nil && len(b.again) == 0 && !b.left.Empty()
		if !more && len(b.flying) == 0 {
			return
		}
		free, grants := b.room(more)
		if len(b.flying) > 0 {
			timer.Reset(time.Until(b.flying[0].deadline))
		}
		select {
		case b.next = <-free:
			b.taken = true
			if b.Budget == nil {
				b.issue(ctx)
			}
		case <-grants:
			b.issue(ctx)
		case f := <-b.landed:
			b.land(f, f.outcome)
		case <-timer.C:
			b.expire()
		case <-wake:
		}
	}
}

// room is what the next command waits for, if there is to be one: a slot, and then the budget, so that
// nobody who waits keeps anything of it from others. Nil is waited for for ever.
func (b *batch[S]) room(more bool) (free <-chan S, grants <-chan struct{}) {
	switch {
	case !more:
		b.putBack()
		return nil, nil
	case b.taken:
		return nil, b.Budget.tokens
	}
	return b.Slots, nil
}

// putBack gives back a slot that was taken and not used.
func (b *batch[S]) putBack() {
	if b.taken {
		b.taken = false
		b.Slots <- b.next
	}
}

// issue sends the next command.
func (b *batch[S]) issue(ctx context.Context) {
	s := b.next
	b.taken = false // it is that of the command from here on
	o := b.protocol.Make(s)
	f := &flight[S]{slot: s, ended: make(chan struct{}), deadline: time.Now().Add(b.Patience)}
	b.flying = append(b.flying, f)
	if o.Action != ActionDone {
		b.land(f, o)
		return
	}
	b.result.Commands++
	go f.fly(ctx, b.protocol, b.landed)
}

// stalled is how late a timer is if the process did not run when it was due.
const stalled = time.Second

// expire fences every command that is overdue. Its goroutine stays behind until the
// kernel lets go of the command. If nobody was there to take answers, those that have
// come meanwhile get the time to be taken.
func (b *batch[S]) expire() {
	now := time.Now()
	if len(b.flying) > 0 && now.Sub(b.flying[0].deadline) > stalled {
		for _, f := range b.flying {
			f.deadline = maxTime(f.deadline, now.Add(stalled))
		}
		return
	}
	for len(b.flying) > 0 && !b.flying[0].deadline.After(now) {
		b.land(b.flying[0], Unanswered(ErrTimeout, nil))
	}
}

func maxTime(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// land accounts for a command. One that lands after it was given up is known
// already.
func (b *batch[S]) land(f *flight[S], o Outcome) {
	i := slices.Index(b.flying, f)
	if i < 0 {
		return
	}
	b.flying = slices.Delete(b.flying, i, i+1)
	pieces := b.protocol.Pieces(f.slot)
	if o.Action == ActionFence {
		b.fence(f, pieces, o)
		return
	}
	if o.Action == ActionExpired && o.Untouched {
		b.result.Commands-- // it was not issued after all
	}
	o = b.protocol.Landed(f.slot, o)
	for i, p := range pieces {
		switch {
		case o.Action == ActionDone || i < o.Done:
			b.result.Done = Append(b.result.Done, p)
		case o.Action.Again():
			b.again = Append(b.again, p)
		default:
			b.result.fail(p, o, o.Untouched && !b.torn)
		}
	}
	b.release(f.slot)
	if o.Action.Again() {
		b.why = append(b.why, o)
	}
	if o.Action.Stops() {
		b.stop(o)
	}
}

// release makes room for another command.
func (b *batch[S]) release(slot S) {
	b.Slots <- slot
	if b.Budget != nil {
		b.Budget.done()
	}
}

// fence gives the command up and stops the batch: a device that has lost one
// command gets no more for now. The rest has not been issued and is free.
func (b *batch[S]) fence(f *flight[S], pieces []Piece, o Outcome) {
	fence := &Fence{Reason: o.Reason, Err: o.Err, ended: f.ended}
	for _, p := range pieces {
		fence.Pieces = Append(fence.Pieces, p)
	}
	fence.spans = spansOf(fence.Pieces, Piece.Destination)
	b.result.Fenced = append(b.result.Fenced, fence)
	b.Fences.fence(fence)

	abandon(f.slot)
	b.release(b.protocol.Room())

	rest := o
	rest.Action = ActionBackOff
	b.stop(rest)
}

// stop keeps the rest of the batch from being issued; the first cause counts.
func (b *batch[S]) stop(o Outcome) {
	if b.cause != nil {
		return
	}
	b.cause = &o
	if o.Action != ActionCanceled {
		b.Logger.Warn("copy stops early", "device", b.Name, "action", o.Action, "reason", o.Reason, "error", o.Err)
	}
}
