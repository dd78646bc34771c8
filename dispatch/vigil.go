package dispatch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/dmcopy/dmcopy/copydomain"
	"github.com/dmcopy/dmcopy/emulation"
	"github.com/dmcopy/dmcopy/internal/background"
	"github.com/dmcopy/dmcopy/remap"
)

// The kernel may keep a call for as long as it likes: of a device that is suspended,
// of one without a path, of a pool that is full. Such a thread sleeps
// uninterruptibly: it cannot be called back, nor killed. So the calls of a copy are
// counted, and when the copy is to end, those that do not come back are left behind.

const (
	// noticeAfter is how long after its end was asked for a copy tells what it still
	// waits for.
	noticeAfter = time.Second
	// giveUpAfter is how long a call may take in all when the end was asked for.
	giveUpAfter = 15 * time.Second
	// commandsAfter is how long copy commands may take from then on. Copiers bound
	// them themselves, and fence what does not come back.
	commandsAfter = 3 * time.Minute
	// silentAfter is how long a copy may take to end without any call under way.
	silentAfter = 2 * time.Minute
)

// Call is a call into the kernel.
type Call struct {
	Op    string // "write"
	On    string // "vg/home"
	Off   int64  // in bytes, or noPlace
	Since time.Time
	// command: copy commands, as opposed to a system call of our own.
	command bool
}

// noPlace is the offset of a call that is not about one.
const noPlace = -1

func (c Call) String() string {
	text := c.Op + " of " + c.On
	if c.Off != noPlace {
		text += fmt.Sprintf(" at byte %d", c.Off)
	}
	return text + fmt.Sprintf(", for %v", time.Since(c.Since).Round(time.Second))
}

// until is when the call is given up, if the end was asked for.
func (c Call) until(asked time.Time) time.Time {
	if c.command {
		return asked.Add(commandsAfter)
	}
	return c.Since.Add(giveUpAfter)
}

// ErrStuck: the kernel keeps a call, and does not let go of it.
var ErrStuck = errors.New("the kernel does not return")

// Stuck is the error of a copy that was ended without the calls that it waited for.
// They are still under way, and nothing that they use may be closed. It is an
// ErrStuck and an ErrInterrupted.
type Stuck struct {
	Calls []Call // the oldest first
	Cause error  // why the copy was to end
	// Told: it was not to be waited for any longer, whatever was under way.
	Told bool
}

func (e *Stuck) Error() string {
	if e.Told && len(e.Calls) == 0 {
		return fmt.Sprintf("%v: ended at once, as told: nothing was under way", e.Cause)
	}
	return fmt.Sprintf("%v: %v: %s; until it does, this process stays, and keeps the destination to itself",
		e.Cause, ErrStuck, Waiting(e.Calls))
}

// Unwrap gives access to the sentinels.
func (e *Stuck) Unwrap() []error { return []error{ErrStuck, ErrInterrupted, e.Cause} }

// Waiting says what is waited for.
func Waiting(calls []Call) string {
	if len(calls) == 0 {
		return "nothing that is known"
	}
	text := calls[0].String()
	if more := len(calls) - 1; more > 0 {
		text += fmt.Sprintf(" (and %d more)", more)
	}
	return text
}

// vigil knows the calls of a copy that are under way.
type vigil struct {
	mu    sync.Mutex
	calls map[*Call]struct{}
}

func newVigil() *vigil { return &vigil{calls: make(map[*Call]struct{})} }

// begin notes a call; the result notes its end.
func (v *vigil) begin(op, on string, off int64) (end func()) {
	return v.note(&Call{Op: op, On: on, Off: off, Since: time.Now()})
}

func (v *vigil) note(c *Call) (end func()) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.calls[c] = struct{}{}
	return func() {
		v.mu.Lock()
		defer v.mu.Unlock()
		delete(v.calls, c)
	}
}

// underWay lists the calls, the oldest first.
func (v *vigil) underWay() []Call {
	v.mu.Lock()
	defer v.mu.Unlock()
	var calls []Call
	for c := range v.calls {
		calls = append(calls, *c)
	}
	slices.SortFunc(calls, func(a, b Call) int { return cmp.Or(a.Since.Compare(b.Since), cmp.Compare(a.Off, b.Off)) })
	return calls
}

// until is when what is under way is given up, if the end was asked for: as soon as
// one call has taken too long; but not before commands, for which a hold is on.
func (v *vigil) until(asked time.Time) time.Time {
	first := asked.Add(silentAfter)
	for i, c := range v.underWay() {
		end := c.until(asked)
		if c.command {
			return end
		}
		if i == 0 || end.Before(first) {
			first = end
		}
	}
	return first
}

// attend returns what do returns. If ctx has ended, and do waits for calls that do
// not come back, it is left behind, and the error is a *Stuck.
func attend[T any](ctx context.Context, r *run, do func() (T, error)) (T, error) {
	call := background.Start(do)
	if call.EndsBefore(ctx) {
		return call.Result()
	}
	if stuck := r.outlast(call.Ended()); stuck != nil {
		var none T
		stuck.Cause = interrupted(ctx)
		return none, stuck
	}
	return call.Result()
}

// outlast waits for the end of a run that was asked for. It returns what the run
// waits for if that is given up.
func (r *run) outlast(ended <-chan struct{}) *Stuck {
	asked := time.Now()
	tick := time.NewTicker(noticeAfter)
	defer tick.Stop()
	for told := false; ; told = true {
		select {
		case <-ended:
			return nil
		case <-r.opts.GiveUp:
			r.left.Store(true)
			return &Stuck{Calls: r.vigil.underWay(), Told: true}
		case now := <-tick.C:
			if !told {
				r.opts.Waiting(r.vigil.underWay())
			}
			if !now.Before(r.vigil.until(asked)) {
				r.left.Store(true)
				return &Stuck{Calls: r.vigil.underWay()}
			}
		}
	}
}

// watchedBy has the calls of both ends counted.
func (j Job) watchedBy(v *vigil) Job {
	for _, end := range []*Endpoint{&j.Src, &j.Dst} {
		end.Device = watched{end.Device, v, end.Name}
	}
	return j
}

// watched is a device whose calls are counted.
type watched struct {
	emulation.Device
	vigil *vigil
	name  string
}

// ReadAt implements [emulation.Device].
func (w watched) ReadAt(p []byte, off int64) (int, error) {
	defer w.vigil.begin("read", w.name, off)()
	return w.Device.ReadAt(p, off)
}

// WriteAt implements [emulation.Device].
func (w watched) WriteAt(p []byte, off int64) (int, error) {
	defer w.vigil.begin("write", w.name, off)()
	return w.Device.WriteAt(p, off)
}

// Zero implements [emulation.Device].
func (w watched) Zero(off, n int64) error {
	defer w.vigil.begin("zeroing", w.name, off)()
	return w.Device.Zero(off, n)
}

// Flush implements [emulation.Device].
func (w watched) Flush() error {
	defer w.vigil.begin("flush", w.name, noPlace)()
	return w.Device.Flush()
}

// watchedLeaf is a leaf whose calls are counted.
type watchedLeaf struct {
	watched
	leaf Leaf
}

// Close implements [Leaf].
func (w watchedLeaf) Close() error { return w.leaf.Close() }

// watchedMachine is a machine whose calls are counted, but those that are never I/O.
type watchedMachine struct {
	Machine
	vigil *vigil
}

// OpenLeaf implements [Machine].
func (m watchedMachine) OpenLeaf(ctx context.Context, n *remap.Node) (Leaf, error) {
	defer m.vigil.begin("opening", n.DisplayName(), noPlace)()
	leaf, err := m.Machine.OpenLeaf(ctx, n)
	if err != nil {
		return nil, err
	}
	return watchedLeaf{watched{leaf, m.vigil, n.DisplayName()}, leaf}, nil
}

// DropCaches implements [Machine].
func (m watchedMachine) DropCaches(ctx context.Context, n *remap.Node, part Part) error {
	defer m.vigil.begin("writing back the page cache", n.DisplayName(), noPlace)()
	return m.Machine.DropCaches(ctx, n, part)
}

// Pair implements [Machine].
func (m watchedMachine) Pair(ctx context.Context, src, dst *remap.Node) copydomain.Pair {
	defer m.vigil.begin("identifying", dst.DisplayName(), noPlace)()
	return m.Machine.Pair(ctx, src, dst)
}

// Copier implements [Machine]. A command that does not come back is fenced by the
// copier; until then the layout stays held for it.
func (m watchedMachine) Copier(ctx context.Context, pair copydomain.Pair, opt copydomain.CopyOptions) (copydomain.Copier, error) {
	name := pair.Dst.DisplayName()
	defer m.vigil.begin("identifying", name, noPlace)()
	c, err := m.Machine.Copier(ctx, pair, opt)
	if err != nil {
		return nil, err
	}
	return watchedCopier{c, m.vigil, name}, nil
}

// watchedCopier is a copier whose commands are counted.
type watchedCopier struct {
	copydomain.Copier
	vigil *vigil
	name  string
}

// Copy implements [copydomain.Copier].
func (c watchedCopier) Copy(ctx context.Context, moves []copydomain.Move) (copydomain.Result, error) {
	defer c.vigil.note(&Call{Op: "copy commands", On: c.name, Off: noPlace, Since: time.Now(), command: true})()
	return c.Copier.Copy(ctx, moves)
}

// Flush implements [copydomain.Copier].
func (c watchedCopier) Flush(ctx context.Context) error {
	defer c.vigil.begin("flush", c.name, noPlace)()
	return c.Copier.Flush(ctx)
}
