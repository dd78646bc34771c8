package blocks

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"
)

func piece(src, dst, n uint64) Piece { return Piece{SrcLBA: src, DstLBA: dst, Blocks: n} }

// half of the blocks of the test device are sources, half destinations. A block has
// one byte, and nothing but a copy makes one block equal another.
const half = 100

// fake is a device whose commands copy up to two pieces of up to four blocks.
type fake struct {
	Issuer[*command]
	locks       RangeLocks
	mu          sync.Mutex
	mem, before []byte
	fault       func(n int) fault
	arrived     int
	late        sync.WaitGroup
	refused     error  // by the last look
	making      func() // comes before each command; nil is nothing
}

// fault changes what becomes of one command. The zero fault changes nothing.
type fault struct {
	hold    <-chan struct{} // the command waits for it
	outcome Outcome         // after so many blocks have been copied, if it is not done
	blocks  uint64
	ghost   bool // the outcome comes at once, and the command is executed later
}

type command struct{ pieces []Piece }

func newFake(inFlight int) *fake {
	f := &fake{mem: make([]byte, 2*half)}
	for i := range f.mem {
		f.mem[i] = byte(i)
	}
	f.before = bytes.Clone(f.mem)
	f.Issuer = Issuer[*command]{
		Slots:    make(chan *command, inFlight),
		Patience: 2 * time.Second,
		Fences:   &f.locks,
		Logger:   slog.New(slog.DiscardHandler),
		Name:     "fake",
	}
	for range inFlight {
		f.Slots <- new(command)
	}
	return f
}

func (f *fake) side() Side { return Side{&f.locks, 2 * half} }

// copy is what Copiers do.
func (f *fake) copy(ctx context.Context, pieces ...Piece) (*Result, error) {
	sorted, release, err := Claim(f.side(), f.side(), pieces)
	if err != nil {
		return nil, err
	}
	defer release()
	return f.Issue(ctx, &protocol{fake: f}, sorted), nil
}

// protocol tries again five times.
type protocol struct {
	*fake
	left   *Queue
	rounds int
}

var errTired = errors.New("tried often enough")

func (p *protocol) Room() *command { return new(command) }

func (p *protocol) Round(_ context.Context, left *Queue, again []Outcome) Outcome {
	if (p.rounds == 0) != (len(again) == 0) {
		panic(fmt.Sprintf("round %d follows %v", p.rounds, again))
	}
	if p.rounds++; p.rounds > 6 {
		return Outcome{Action: ActionBackOff, Reason: "tired", Err: errTired}
	}
	p.left = left
	return Outcome{}
}

func (p *protocol) Make(c *command) Outcome {
	if p.making != nil {
		p.making()
	}
	c.pieces = nil
	for len(c.pieces) < 2 && !p.left.Empty() {
		front := p.left.Front()
		front = front.UpTo(min(front.Blocks, 4))
		c.pieces = append(c.pieces, front)
		p.left.Take(front.Blocks)
	}
	if p.refused != nil {
		return Refused(p.refused)
	}
	return Outcome{}
}

func (p *protocol) Pieces(c *command) []Piece { return c.pieces }

func (p *protocol) Landed(_ *command, o Outcome) Outcome { return o }

func (p *protocol) Send(_ context.Context, c *command) Outcome {
	p.mu.Lock()
	n := p.arrived
	p.arrived++
	var f fault
	if p.fault != nil {
		f = p.fault(n)
	}
	p.mu.Unlock()
	run := func() {
		if f.hold != nil {
			<-f.hold
		}
		p.execute(c, f)
	}
	if f.ghost {
		p.late.Go(run)
		return f.outcome
	}
	run()
	return f.outcome
}

func (f *fake) execute(c *command, what fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	room := uint64(1 << 32)
	if what.outcome.Action != ActionDone && !what.ghost {
		room = what.blocks
	}
	for _, p := range c.pieces {
		for i := range min(p.Blocks, room) {
			f.mem[p.DstLBA+i] = f.mem[p.SrcLBA+i]
		}
		room -= min(p.Blocks, room)
	}
}

func (f *fake) copied(p Piece) bool {
	return bytes.Equal(f.mem[p.DstLBA:p.DstLBA+p.Blocks], f.before[p.SrcLBA:p.SrcLBA+p.Blocks])
}

func (f *fake) untouched(s Span) bool {
	return bytes.Equal(f.mem[s.Start:s.End], f.before[s.Start:s.End])
}

// sources maps every block of the destination to its source.
func sources(pieces []Piece) map[uint64]uint64 {
	m := make(map[uint64]uint64)
	for _, p := range pieces {
		for i := range p.Blocks {
			m[p.DstLBA+i] = p.SrcLBA + i
		}
	}
	return m
}

// account checks that a result holds every block of the input exactly once, and
// that what it says of each is true of the bytes. It is called when nothing runs
// any more.
func (f *fake) account(input []Piece, res *Result) error {
	all := append([]Piece(nil), res.Done...)
	for _, p := range res.Done {
		if !f.copied(p) {
			return fmt.Errorf("done %v is not copied", p)
		}
	}
	for _, r := range res.Redo {
		all = append(all, r.Piece)
		if r.Untouched && !f.untouched(r.Destination()) {
			return fmt.Errorf("untouched %v was written", r.Piece)
		}
		if r.Action == ActionDone || r.Action == ActionFence || r.Action.Again() || r.Reason == "" || r.Err == nil {
			return fmt.Errorf("redo %+v", r)
		}
	}
	for _, fence := range res.Fenced {
		all = append(all, fence.Pieces...)
		if fence.Reason == "" || fence.Err == nil || len(fence.Pieces) == 0 {
			return fmt.Errorf("fence %+v", fence)
		}
	}
	want, got, n := sources(input), sources(all), uint64(0)
	for _, p := range all {
		n += p.Blocks
	}
	if n != uint64(len(want)) || fmt.Sprint(want) != fmt.Sprint(got) {
		return fmt.Errorf("%v became %+v", input, res)
	}
	for lba := range uint64(2 * half) {
		if _, mine := want[lba]; !mine && !f.untouched(Span{lba, lba + 1}) {
			return fmt.Errorf("block %d is nobody's and was written", lba)
		}
	}
	if all, free := cap(f.Slots), len(f.Slots); all != free {
		return fmt.Errorf("%d of %d slots came back", free, all)
	}
	return nil
}

func mustCopy(t *testing.T, f *fake, ctx context.Context, input ...Piece) *Result {
	t.Helper()
	res, err := f.copy(ctx, input...)
	if err != nil {
		t.Fatal(err)
	}
	return res
}
