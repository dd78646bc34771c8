package nvme

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"
)

// Options of a Copier. The zero value is usable.
type Options struct {
	// InFlight is the number of commands under way at once, over all calls of
	// Copy, and over all Copiers of a Ledger that write to the same namespace,
	// of which the first decides. Default 2: every one occupies a thread, and
	// vendors advise against crowding out ordinary I/O.
	InFlight int

	// Timeout after which the kernel aborts a command. Default 2 minutes.
	Timeout time.Duration

	// Grace is how much longer than Timeout a command may take to come back,
	// for the kernel to abort it and, at worst, to reset the controller. A
	// command that needs longer is fenced. Default 10 seconds.
	Grace time.Duration

	// MaxCommandBytes bounds the bytes one command copies. Default: the limits
	// of the namespace only.
	MaxCommandBytes uint64

	// Ledger is shared by all Copiers that touch one of the namespaces. Default:
	// one of its own.
	Ledger *Ledger

	// Logger; nil discards. Only what ends a batch early is logged.
	Logger *slog.Logger
}

func (o Options) withDefaults() Options {
	if o.InFlight <= 0 {
		o.InFlight = 2
	}
	if o.Timeout <= 0 {
		o.Timeout = 2 * time.Minute
	}
	if o.Grace <= 0 {
		o.Grace = 10 * time.Second
	}
	if o.Ledger == nil {
		o.Ledger = NewLedger()
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

// Guard is called with each command right before it is issued. An error keeps
// the command and the rest of its batch at home. It is the place to assert that
// the blocks lie where the layout, read again, says. Calls for one batch come one
// at a time. The command must not be kept.
type Guard func(*CopyCommand) error

// Copier copies pieces inside one namespace, or from one to another. Use one
// Copier for a namespace, or a pair of them, in a process, and one [Ledger] for
// all that have a namespace in common: it knows which blocks are under way and
// which are fenced, and refuses to mix them. It is safe for concurrent use.
type Copier struct {
	src    *Device // the same as dev within a namespace
	dev    *Device // which is written, and gets the commands
	opts   Options
	slots  chan *slot
	ledger *Ledger

	mu       sync.Mutex
	reported Limits // what Identify said last
	limits   Limits // what commands are made to, never above reported
}

// Failure is a piece that was not copied, or not for sure.
type Failure struct {
	Piece
	Action Action
	Reason string // slug, e.g. "device:status-0x281"
	Err    error

	// Untouched: nothing was written to the piece's destination by this
	// batch. Otherwise any part of it may have been.
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

	// Refreshes counts how often the limits were read again or halved.
	Refreshes int
}

// NewCopier prepares copies on a namespace that Probe found able.
func NewCopier(dev *Device, opts Options) (*Copier, error) { return newCopier(dev, dev, opts) }

// NewCrossCopier prepares copies from a namespace to another one that is attached
// to every controller that may execute the commands, where these take descriptor
// format 2: see [Crossing].
func NewCrossCopier(src, dst *Device, opts Options) (*Copier, error) {
	if why := Crossing(src, dst); why.Verdict != Yes {
		return nil, opError("new copier", dst.String(), fmt.Errorf("%w: %s (%s)", ErrNotSupported, why.Reason, why.Detail))
	}
	return newCopier(src, dst, opts)
}

func newCopier(src, dst *Device, opts Options) (*Copier, error) {
	for _, d := range []*Device{dst, src} {
		if d.Support.Verdict != Yes {
			return nil, opError("new copier", d.String(), fmt.Errorf("%w: %s (%s)", ErrNotSupported, d.Support.Reason, d.Support.Detail))
		}
	}
	opts = opts.withDefaults()
	reported := src.Namespace.Limits.Min(dst.Namespace.Limits)
	return &Copier{
		src:      src,
		dev:      dst,
		opts:     opts,
		slots:    opts.Ledger.room(dst, opts.InFlight),
		ledger:   opts.Ledger,
		reported: reported,
		limits:   reported.Cap(opts.MaxCommandBytes, dst.Namespace.BlockSize),
	}, nil
}

// Limits that the next commands will be made to.
func (c *Copier) Limits() Limits {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.limits
}

// Copy copies the pieces, which may come in any order, and returns when every
// command has come back or has been given up. When ctx ends no further command
// is issued, but those in flight are still waited for, at most for Timeout and
// Grace: a command cannot be called back.
//
// An error refuses the batch as a whole, before anything is issued:
// [ErrOverlap] within the batch or with one under way, [ErrFenced],
// [ErrOutOfRange], [ErrInvalid]. Everything later is in the Result.
func (c *Copier) Copy(ctx context.Context, pieces []Piece) (*Result, error) {
	return c.CopyGuarded(ctx, pieces, func(*CopyCommand) error { return nil })
}

// CopyGuarded is Copy with a last look at every command.
func (c *Copier) CopyGuarded(ctx context.Context, pieces []Piece, guard Guard) (*Result, error) {
	pieces = slices.Clone(pieces)
	SortByDestination(pieces)
	claim, err := c.claim(pieces)
	if err != nil {
		return nil, opError("copy", c.name(), err)
	}
	defer c.ledger.release(claim)

	b := &batch{Copier: c, guard: guard, pending: pieces, landed: make(chan *flight, cap(c.slots))}
	for len(b.pending) > 0 && b.cause == nil {
		b.round(ctx)
	}
	for _, p := range b.pending {
		b.fail(p, *b.cause, !b.torn)
	}
	return b.finish(), nil
}

// name is what the Copier copies between, for people.
func (c *Copier) name() string {
	if c.src == c.dev {
		return c.dev.String()
	}
	return fmt.Sprintf("%v from nsid %d", c.dev, c.src.NSID)
}

// claim checks the pieces, which are in order of destination, against the
// namespaces, each other, what is under way and what is fenced.
func (c *Copier) claim(pieces []Piece) (*extents, error) {
	for i, p := range pieces {
		if !p.valid() {
			return nil, fmt.Errorf("%w: piece %v", ErrInvalid, p)
		}
		if p.source().end > c.src.Namespace.Blocks || p.destination().end > c.dev.Namespace.Blocks {
			return nil, fmt.Errorf("%w: piece %v from %d to %d blocks", ErrOutOfRange, p, c.src.Namespace.Blocks, c.dev.Namespace.Blocks)
		}
		if i > 0 && pieces[i-1].destination().end > p.DstLBA {
			return nil, fmt.Errorf("%w: pieces %v and %v in the destination", ErrOverlap, pieces[i-1], p)
		}
	}
	e := &extents{from: c.src, to: c.dev, src: spansOf(pieces, Piece.source), dst: spansOf(pieces, Piece.destination)}
	if s, bad := meet(e.src, e.dst); bad && c.src == c.dev {
		return nil, fmt.Errorf("%w: blocks %v are source and destination", ErrOverlap, s)
	}
	return e, c.ledger.claim(e)
}

// encode makes the wire form of a command in its slot.
func (c *Copier) encode(s *slot) error {
	if c.src == c.dev {
		return s.copy.Encode(&s.cmd, c.dev.NSID, s.buf[:])
	}
	return s.copy.EncodeFrom(&s.cmd, c.src.NSID, c.dev.NSID, s.buf[:])
}

// slot is what one command in flight needs; there are InFlight of them.
type slot struct {
	copy CopyCommand
	cmd  Command
	buf  [MaxRanges * RangeSize]byte
}

// flight is a command on its way.
type flight struct {
	*slot
	deadline time.Time

	completion Completion // these two are set before ended or landed
	err        error
	ended      chan struct{} // closed if the device is known to be through with it
}

// fly blocks until the kernel returns the command, which may be never. It then
// reports to landed, which has room for it even if nobody waits any more.
func (f *flight) fly(ctx context.Context, t Transport, landed chan<- *flight) {
	f.completion, f.err = t.IO(ctx, &f.cmd)
	if f.outcome().Action != ActionFence {
		close(f.ended)
	}
	landed <- f
}

func (f *flight) outcome() Outcome {
	return Judge(f.completion, f.err, len(f.copy.Ranges))
}

// batch is one call of Copy. Only the goroutine of the caller touches it.
type batch struct {
	*Copier
	guard   Guard
	result  Result
	pending []Piece  // not yet packed, in order of destination
	cause   *Outcome // why the rest stays at home, nil while it does not

	packer   *Packer
	flying   []*flight // in the order of issue, hence of deadlines
	landed   chan *flight
	tooLarge []Piece // refused by the device's limits in this round
	torn     bool    // something of pending may have been written
}

// round packs what is pending and issues it until all is done, until the device
// finds a command too large, or until something stops the batch. What is left is
// pending again.
func (b *batch) round(ctx context.Context) {
	limits := b.Limits()
	packer, err := NewPacker(limits, b.pending)
	if err != nil {
		b.stop(Outcome{Action: ActionNotSupported, Reason: "limit:zero", Err: err})
		return
	}
	b.packer, b.tooLarge = packer, nil
	b.pump(ctx)
	b.pending = packer.Rest(slices.Clone(b.tooLarge))
	SortByDestination(b.pending)
	if len(b.tooLarge) > 0 {
		b.torn = true
		if b.cause == nil {
			b.refresh(ctx, limits)
		}
	}
}

// pump keeps commands in flight, and returns when none is.
func (b *batch) pump(ctx context.Context) {
	wake := ctx.Done()
	timer := time.NewTimer(b.opts.Timeout + b.opts.Grace)
	defer timer.Stop()
	for {
		if err := ctx.Err(); err != nil {
			wake = nil
			b.stop(canceled(err))
		}
		var free <-chan *slot
		if b.cause == nil && len(b.tooLarge) == 0 && len(b.packer.rest) > 0 {
			free = b.slots
		}
		if free == nil && len(b.flying) == 0 {
			return
		}
		if len(b.flying) > 0 {
			timer.Reset(time.Until(b.flying[0].deadline))
		}
		select {
		case s := <-free:
			b.issue(ctx, s)
		case f := <-b.landed:
			b.land(f, f.outcome())
		case <-timer.C:
			b.expire()
		case <-wake:
		}
	}
}

// issue sends the next command. The check comes last, right before it.
func (b *batch) issue(ctx context.Context, s *slot) {
	b.packer.Next(&s.copy)
	err := b.encode(s)
	if err == nil {
		err = b.guard(&s.copy)
	}
	f := &flight{slot: s, ended: make(chan struct{}), deadline: time.Now().Add(b.opts.Timeout + b.opts.Grace)}
	b.flying = append(b.flying, f)
	if err != nil {
		b.land(f, Outcome{Action: ActionReresolve, Reason: "check:refused", Err: err, Untouched: true})
		return
	}
	s.cmd.Timeout = b.opts.Timeout
	b.result.Commands++
	go f.fly(ctx, b.dev.Transport, b.landed)
}

// expire fences every command that is overdue. Its goroutine stays behind until
// the kernel lets go of the command.
func (b *batch) expire() {
	now := time.Now()
	for len(b.flying) > 0 && !b.flying[0].deadline.After(now) {
		b.land(b.flying[0], judgeError(ErrTimeout))
	}
}

// land accounts for a command. One that lands after it was given up is known
// already.
func (b *batch) land(f *flight, o Outcome) {
	i := slices.Index(b.flying, f)
	if i < 0 {
		return
	}
	b.flying = slices.Delete(b.flying, i, i+1)

	var lost []Piece
	var skip uint64
	for i := range f.copy.Ranges {
		p := f.copy.piece(i, skip)
		skip += p.Blocks
		switch {
		case i < o.DoneRanges:
			b.result.Done = appendPiece(b.result.Done, p)
		case o.Action == ActionFence:
			lost = appendPiece(lost, p)
		case o.Action == ActionRefreshLimits:
			b.tooLarge = appendPiece(b.tooLarge, p)
		default:
			b.fail(p, o, o.Untouched && !b.torn)
		}
	}
	if o.Action == ActionFence {
		b.fence(f, lost, o)
		return
	}
	b.slots <- f.slot
	if o.Action.stops() && o.Action != ActionRefreshLimits {
		b.stop(o)
	}
}

func (b *batch) fail(p Piece, o Outcome, untouched bool) {
	b.result.Redo = append(b.result.Redo, Failure{Piece: p, Action: o.Action, Reason: o.Reason, Err: o.Err, Untouched: untouched})
}

// stop keeps the rest of the batch at home; the first cause counts.
func (b *batch) stop(o Outcome) {
	if b.cause != nil {
		return
	}
	b.cause = &o
	if o.Action != ActionCanceled {
		b.opts.Logger.Warn("copy stops early", "device", b.name(), "action", o.Action, "reason", o.Reason, "error", o.Err)
	}
}

func (b *batch) finish() *Result {
	r := &b.result
	byDestination := func(x, y Piece) int { return cmp.Compare(x.DstLBA, y.DstLBA) }
	slices.SortFunc(r.Done, byDestination)
	done := r.Done[:0]
	for _, p := range r.Done {
		done = appendPiece(done, p)
	}
	r.Done = done
	slices.SortFunc(r.Redo, func(x, y Failure) int { return byDestination(x.Piece, y.Piece) })
	return r
}
