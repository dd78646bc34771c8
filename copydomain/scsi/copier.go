package scsi

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"
)

// Options of a Copier. The zero value is usable.
type Options struct {
	// InFlight is the number of commands under way at once, over all calls of
	// Copy, and at most what the target says it takes. Default 2: every one
	// occupies a thread, and vendors advise against crowding out ordinary I/O.
	InFlight int

	// Timeout after which the kernel aborts a command. Default 2 minutes.
	Timeout time.Duration

	// Grace is how much longer than Timeout a command may take to come back,
	// for the kernel to abort it and, at worst, to reset the target. A command
	// that needs longer is fenced. Default 30 seconds.
	Grace time.Duration

	// MaxCommandBytes bounds the bytes one command copies. Default 64 MiB.
	MaxCommandBytes uint64

	// Logger; nil discards. Only what ends a batch early is logged.
	Logger *slog.Logger
}

// DefaultCommandBytes is what one command copies at most, unless told otherwise.
const DefaultCommandBytes = 64 << 20

func (o Options) withDefaults() Options {
	if o.InFlight <= 0 {
		o.InFlight = 2
	}
	if o.Timeout <= 0 {
		o.Timeout = 2 * time.Minute
	}
	if o.Grace <= 0 {
		o.Grace = 30 * time.Second
	}
	if o.MaxCommandBytes == 0 {
		o.MaxCommandBytes = DefaultCommandBytes
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

// Guard is called with the pieces of each command right before it is issued. An
// error keeps the command and the rest of its batch at home. It is the place to
// assert that the blocks lie where the layout, read again, says. Calls for one
// batch come one at a time. The slice must not be kept.
type Guard func([]Piece) error

// Copier copies pieces from one logical unit to another, or within one. Commands
// go to the destination. It is safe for concurrent use, and Copiers that have a
// Device in common respect each other's batches and fences.
type Copier struct {
	src, dst *Device
	opts     Options
	slots    chan *slot
	ids      *listIDs

	mu     sync.Mutex
	limits Limits // what commands are made to
	copied bool   // a command of this pair has succeeded
}

// Failure is a piece that was not copied, or not for sure.
type Failure struct {
	Piece
	Action Action
	Reason string // slug, e.g. "device:sense-3-11-00"
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

	// Again counts how often commands were sent again, for whatever reason.
	Again int
}

// NewCopier prepares copies from src to dst, which Span found able.
func NewCopier(src, dst *Device, opts Options) (*Copier, error) {
	limits, support := Span(src, dst)
	if support.Verdict != Yes {
		return nil, opError("new copier", dst.String(), fmt.Errorf("%w: %s (%s)", ErrNotSupported, support.Reason, support.Detail))
	}
	opts = opts.withDefaults()
	opts.InFlight = dst.inFlight(opts.InFlight)
	c := &Copier{
		src: src, dst: dst, opts: opts, ids: &identifiers,
		limits: limits.Cap(opts.MaxCommandBytes, dst.Capacity.BlockSize),
		slots:  make(chan *slot, opts.InFlight),
	}
	for range opts.InFlight {
		c.slots <- c.newSlot()
	}
	return c, nil
}

// inFlight is the number of commands that the target takes at a time, at most n.
func (d *Device) inFlight(n int) int {
	if t := int(d.Parameters.TotalConcurrent); t > 0 {
		n = min(n, t)
	}
	if m := int(d.Parameters.MaxConcurrent); m > 0 {
		n = min(n, m)
	}
	return n
}

// Limits that the next commands will be made to.
func (c *Copier) Limits() Limits {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.limits
}

// Copy copies the pieces, which may come in any order, and returns when every
// command has come back or has been given up. When ctx ends no further command is
// issued, but those in flight are still waited for, at most for Timeout and Grace:
// a command cannot be called back.
//
// An error refuses the batch as a whole, before anything is issued: [ErrOverlap]
// within the batch or with one under way, [ErrFenced], [ErrOutOfRange],
// [ErrInvalid]. Everything later is in the Result.
func (c *Copier) Copy(ctx context.Context, pieces []Piece) (*Result, error) {
	return c.CopyGuarded(ctx, pieces, func([]Piece) error { return nil })
}

// CopyGuarded is Copy with a last look at every command.
func (c *Copier) CopyGuarded(ctx context.Context, pieces []Piece, guard Guard) (*Result, error) {
	for _, p := range pieces { // what joins pieces needs valid ones
		if !p.valid() {
			return nil, opError("copy", c.dst.String(), fmt.Errorf("%w: piece %v", ErrInvalid, p))
		}
	}
	pieces = SortByDestination(slices.Clone(pieces))
	release, err := claim(c.src, c.dst, pieces)
	if err != nil {
		return nil, opError("copy", c.dst.String(), err)
	}
	defer release()

	b := &batch{Copier: c, guard: guard, landed: make(chan *flight, c.opts.InFlight)}
	whole, slivers := split(pieces, c.Limits().Granularity)
	b.pending = whole
	for _, p := range slivers {
		b.fail(p, Outcome{Action: ActionEmulate, Reason: "limit:granularity", Err: ErrGranularity}, true)
	}
	if len(b.pending) > 0 {
		b.recheck(ctx)
	}
	for len(b.pending) > 0 && b.cause == nil {
		b.round(ctx)
	}
	for _, p := range b.pending {
		b.fail(p, *b.cause, !b.torn)
	}
	return b.finish(), nil
}

// slot is what one command in flight needs; there are InFlight of them.
type slot struct {
	list List
	cmd  Command
	cdb  [16]byte
	buf  []byte
	cut  []Piece
}

func (c *Copier) newSlot() *slot {
	s := &slot{buf: make([]byte, headerLID4+2*cscdSize+maxSegments*segmentSize)}
	s.list.Form = c.dst.Form
	s.list.Units = append(s.list.Units, c.dst.unit())
	if c.src != c.dst {
		s.list.Units = append([]Unit{c.src.unit()}, s.list.Units...)
	}
	return s
}

func (d *Device) unit() Unit { return Unit{Designator: d.Name, BlockSize: d.Capacity.BlockSize} }

// encode makes the command of the slot from the pieces in cut.
func (s *slot) encode(id uint32, timeout time.Duration) error {
	s.list.ListID = id
	s.list.Segments = s.list.Segments[:0]
	for _, p := range s.cut {
		s.list.Segments = append(s.list.Segments, Segment{Dst: uint16(len(s.list.Units) - 1), Piece: p})
	}
	n, err := s.list.Encode(s.buf)
	if err != nil {
		return err
	}
	extendedCopy(&s.cdb, s.list.Form, n)
	s.cmd = Command{CDB: s.cdb[:], Data: s.buf[:n], Timeout: timeout}
	return nil
}

// flight is a command on its way.
type flight struct {
	*slot
	deadline time.Time

	completion Completion // these two are set before ended or landed
	err        error
	ended      chan struct{} // closed if the device is known to be through with it
}

// pieces that the command is to copy.
func (f *flight) pieces() []Piece {
	var all []Piece
	for _, p := range f.cut {
		all = appendPiece(all, p)
	}
	return all
}

// fly blocks until the kernel returns the command, which may be never. It then
// reports to landed, which has room for it even if nobody waits any more.
func (f *flight) fly(ctx context.Context, t Transport, landed chan<- *flight) {
	f.completion, f.err = t.Do(ctx, &f.cmd)
	if Judge(f.completion, f.err).Action != ActionFence {
		close(f.ended)
	}
	landed <- f
}

// batch is one call of Copy. Only the goroutine of the caller touches it.
type batch struct {
	*Copier
	guard   Guard
	result  Result
	pending []Piece  // not yet packed, in order of destination
	cause   *Outcome // why the rest stays at home, nil while it does not

	packer *Packer
	flying []*flight // in the order of issue, hence of deadlines
	landed chan *flight
	again  []Piece   // of this round, to be tried once more
	why    []Outcome // the answers to them
	tries  int       // rounds since a command succeeded
	torn   bool      // something of pending may have been written
}

// round packs what is pending and issues it until all is done, until the device
// wants something again, or until something stops the batch. What is left is
// pending again.
func (b *batch) round(ctx context.Context) {
	limits := b.Limits()
	packer, err := NewPacker(limits, b.pending)
	if err != nil {
		b.stop(Outcome{Action: ActionNotSupported, Reason: "limit:zero", Err: err})
		return
	}
	b.packer, b.again, b.why = packer, nil, nil
	b.pump(ctx)
	b.pending = SortByDestination(packer.Rest(slices.Clone(b.again)))
	if len(b.again) > 0 && b.cause == nil {
		b.prepare(ctx, limits)
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
		if b.cause == nil && len(b.again) == 0 && len(b.packer.rest) > 0 {
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
			b.land(f, Judge(f.completion, f.err))
		case <-timer.C:
			b.expire()
		case <-wake:
		}
	}
}

// errNoListID: 255 commands are under way, or lost.
var errNoListID = errors.New("all list identifiers are in use")

// issue sends the next command. The guard comes last, right before it.
func (b *batch) issue(ctx context.Context, s *slot) {
	s.cut = b.packer.Next(s.cut[:0])
	f := &flight{slot: s, ended: make(chan struct{}), deadline: time.Now().Add(b.opts.Timeout + b.opts.Grace)}
	b.flying = append(b.flying, f)
	var id uint32
	if !b.dst.Parameters.NoListID {
		if id = b.ids.take(); id == 0 {
			b.land(f, Outcome{Action: ActionBackOff, Reason: "device:list-id", Err: errNoListID, Untouched: true})
			return
		}
	}
	err := s.encode(id, b.opts.Timeout) // from here on the identifier is the slot's
	if err == nil {
		err = b.guard(s.cut)
	}
	if err != nil {
		b.land(f, Outcome{Action: ActionReresolve, Reason: "check:refused", Err: err, Untouched: true})
		return
	}
	b.result.Commands++
	go f.fly(ctx, b.dst.Transport, b.landed)
}

// expire fences every command that is overdue. Its goroutine stays behind until
// the kernel lets go of the command.
func (b *batch) expire() {
	now := time.Now()
	for len(b.flying) > 0 && !b.flying[0].deadline.After(now) {
		b.land(b.flying[0], judgeError(ErrTimeout))
	}
}

// land accounts for a command, as a whole. One that lands after it was given up
// is known already.
func (b *batch) land(f *flight, o Outcome) {
	i := slices.Index(b.flying, f)
	if i < 0 {
		return
	}
	b.flying = slices.Delete(b.flying, i, i+1)
	if o.Action == ActionFence {
		b.fence(f, o)
		return
	}
	o = b.weigh(o)
	for _, p := range f.cut {
		switch {
		case o.Action == ActionDone:
			b.result.Done = appendPiece(b.result.Done, p)
		case o.Action.again():
			b.again = appendPiece(b.again, p)
		default:
			b.fail(p, o, o.Untouched && !b.torn)
		}
	}
	if o.Action.again() {
		b.why = append(b.why, o)
		b.torn = b.torn || !o.Untouched
	}
	b.ids.give(f.list.ListID)
	f.list.ListID = 0
	b.slots <- f.slot
	if o.Action.stops() {
		b.stop(o)
	}
}

// weigh takes what the pair has done before into account: one that has never
// copied and does not reach a unit will not do so later.
func (b *batch) weigh(o Outcome) Outcome {
	b.mu.Lock()
	defer b.mu.Unlock()
	if o.Action == ActionDone {
		b.copied, b.tries = true, 0
	}
	if o.Unreachable && !b.copied {
		o.Action = ActionNotSupported
	}
	return o
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
		b.opts.Logger.Warn("copy stops early", "device", b.dst.String(), "action", o.Action, "reason", o.Reason, "error", o.Err)
	}
}

func (b *batch) finish() *Result {
	r := &b.result
	r.Done = SortByDestination(r.Done)
	slices.SortFunc(r.Redo, func(x, y Failure) int { return cmp.Compare(x.DstLBA, y.DstLBA) })
	return r
}
