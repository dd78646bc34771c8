package throttle

import (
	"fmt"
	"math"
	"slices"

	"github.com/dmcopy/dmcopy/test/blkthrottle"
)

// replay has the model do what a kernel has done, and compares what they say.
type replay struct {
	notes  []note
	first  int // of the call that it has come to
	at     int // the next one
	rules  blkthrottle.Rules
	disk   *blkthrottle.Disk
	groups map[string]*group

	knownAt   float64       // seconds, when the throttle's clock was
	known     int64         // so many jiffies
	chosen    map[int]int64 // by the note that a call has come to: what the clock showed in one that does not say
	ambiguous []ambiguous
	counts
}

// ambiguous is a call whose notes do not say what the clock showed: something from first to last.
type ambiguous struct {
	at               int
	now, first, last int64
}

// counts is what was compared.
type counts struct {
	passes     int // reads that passed at once
	letGo      int // reads that had to wait
	slices     int // the slice of a group
	timers     int // when the timer is to fire
	fires      int // how many reads it lets go
	dispatched int // how many bytes a group was let through
	carryovers int // how many bytes count under the next limit
	guesses    int // calls that were made at other times than their notes seem to say
}

func (c *counts) add(d counts) {
	c.passes, c.letGo, c.slices, c.timers = c.passes+d.passes, c.letGo+d.letGo, c.slices+d.slices, c.timers+d.timers
	c.fires, c.dispatched, c.carryovers, c.guesses = c.fires+d.fires, c.dispatched+d.dispatched, c.carryovers+d.carryovers, c.guesses+d.guesses
}

type group struct {
	*blkthrottle.Group
	limited bool
	bios    map[*blkthrottle.Bio]bool // that wait
	gone    []int64                   // sizes of what was let go and has not come to the disk
}

// follow has the model repeat the notes. Where they do not tell the time, it has to be one at which the model does what the
// kernel did, then and afterwards: the clock is behind that of the notes for as long as interrupts are late.
func follow(notes []note, rules blkthrottle.Rules) (counts, error) {
	r, err := repeat(notes, rules, nil)
	for err != nil {
		next, nextErr := r.atOtherTimes()
		if next == nil {
			return r.counts, err
		}
		r, err = next, nextErr
		r.guesses = len(r.chosen)
	}
	return r.counts, nil
}

func repeat(notes []note, rules blkthrottle.Rules, chosen map[int]int64) (*replay, error) {
	r := &replay{notes: notes, rules: rules, disk: blkthrottle.NewDisk(rules), groups: make(map[string]*group), chosen: chosen}
	return r, r.run()
}

// atOtherTimes comes further with another time for one of the latest calls that do not tell it, if there is one.
func (r *replay) atOtherTimes() (*replay, error) {
	for _, u := range slices.Backward(r.ambiguous[max(0, len(r.ambiguous)-20):]) {
		for now := u.first; now <= min(u.last, u.first+r.rules.HZ); now++ {
			chosen := map[int]int64{u.at: now}
			for at, now := range r.chosen {
				if at != u.at {
					chosen[at] = now
				}
			}
			if next, err := repeat(r.notes, r.rules, chosen); err == nil || next.first > r.first {
				return next, err
			}
		}
	}
	return nil, nil
}

// run goes through the notes, call by call.
func (r *replay) run() error {
	for r.at < len(r.notes) {
		r.first = r.at
		if err := r.call(); err != nil {
			for _, n := range r.notes[max(r.first-12, 0):min(r.at+8, len(r.notes))] {
				err = fmt.Errorf("%w\n%s", err, n.line)
			}
			return fmt.Errorf("notes %d to %d: %w", r.first, r.at, err)
		}
	}
	for id, g := range r.groups {
		if len(g.bios) > 0 || len(g.gone) > 0 {
			return fmt.Errorf("group %s: in the end %d reads wait in the model, and %d that it has let go have not come to the disk", id, len(g.bios), len(g.gone))
		}
	}
	return nil
}

// call goes through the notes of one call. What a call says of the slice of its group, it says before what it decides.
func (r *replay) call() error {
	var before []note
	for {
		n := r.take()
		switch {
		case n.is("limit change"):
			return r.limit(n, before)
		case n.is("[R] bio."):
			return r.submit(n, before)
		case n.is("dispatch"):
			return r.dispatch(n)
		case n.bytes > 0:
			return r.read(n, before)
		case r.at == len(r.notes) || len(before) > 0 && before[0].group != n.group:
			return r.passed(before)
		case n.is("[R]") || n.is("tg_update_carryover"):
			before = append(before, n)
		default:
			return nil // of writes
		}
	}
}

// take is the next note.
func (r *replay) take() note {
	n := r.notes[r.at]
	r.at++
	if j, ok := n.jiffies(); ok {
		r.known, r.knownAt = j, n.at
	}
	return n
}

// until takes notes up to one of a kind.
func (r *replay) until(kind string) (taken []note) {
	for r.at < len(r.notes) {
		n := r.take()
		if taken = append(taken, n); n.is(kind) {
			break
		}
	}
	return taken
}

func (r *replay) group(id string) *group {
	if r.groups[id] == nil {
		r.groups[id] = &group{Group: r.disk.Group(), bios: make(map[*blkthrottle.Bio]bool)}
	}
	return r.groups[id]
}

// clock is what the throttle's clock shows in a call, if a note of it says so.
func clock(notes []note) (int64, bool) {
	for _, n := range notes {
		if j, ok := n.jiffies(); ok {
			return j, true
		}
	}
	return 0, false
}

// choose is what it shows in a call of which no note says so, but not less than least. What was not chosen goes by the time of the note.
func (r *replay) choose(n note, least int64) int64 {
	u := ambiguous{at: r.at, first: max(r.known, least)}
	u.last = u.first + r.rules.HZ
	for _, later := range r.notes[r.at:] {
		if j, ok := later.jiffies(); ok {
			u.last = max(u.first, j)
			break
		}
	}
	now, ok := r.chosen[r.at]
	if !ok {
		now = r.known + int64(math.Floor((n.at-r.knownAt)*float64(r.rules.HZ)))
	}
	u.now = min(max(now, u.first), u.last)
	r.ambiguous = append(r.ambiguous, u)
	return u.now
}

// timer compares when the timer is to fire with what the last of the notes says.
func (r *replay) timer(notes []note) error {
	for _, n := range slices.Backward(notes) {
		delay, ok := n.number("schedule timer. delay=")
		if !ok {
			continue
		}
		r.timers++
		at, waits := r.disk.Next()
		if now, _ := n.jiffies(); !waits || at-now != delay {
			return fmt.Errorf("the kernel's timer fires in %d jiffies, the model's in %d (%t)", delay, at-now, waits)
		}
		return nil
	}
	return nil
}

// slice compares the slice with what the last of the notes says of a group.
func (r *replay) slice(g *group, id string, notes []note) error {
	for _, n := range slices.Backward(notes) {
		start, end, ok := n.slice()
		if !ok || n.group != id {
			continue
		}
		r.slices++
		if s, e := g.Slice(); s != start || e != end {
			return fmt.Errorf("the kernel's slice is %d to %d, the model's %d to %d", start, end, s, e)
		}
		return nil
	}
	return nil
}

// limit is a write to io.max.
func (r *replay) limit(n note, before []note) error {
	g, after := r.group(n.group), r.until("[W] new slice")
	if len(g.bios) > 0 {
		after = append(after, r.until("schedule timer")...)
	}
	now, ok := clock(after)
	rate, ok2 := n.number("rbps=")
	if !ok || !ok2 {
		return fmt.Errorf("no time or no limit")
	}
	if err := g.SetLimit(now, uint64(rate)); err != nil {
		return err
	}
	g.limited = rate != -1
	for _, b := range before {
		if carried, ok := b.number("tg_update_carryover: "); ok {
			r.carryovers++
			if carried != g.Carryover() {
				return fmt.Errorf("the kernel carries %d bytes over, the model %d", carried, g.Carryover())
			}
		}
	}
	if err := r.slice(g, n.group, after); err != nil {
		return err
	}
	return r.timer(after)
}

// submit is a read that has to wait.
func (r *replay) submit(n note, before []note) error {
	g := r.group(n.group)
	var after []note
	if len(g.bios) == 0 {
		after = r.until("schedule timer")
	}
	now, ok := clock(before)
	if !ok {
		now, ok = clock(after)
	}
	if !ok {
		now = r.choose(n, 0) // behind others, where it does not matter
	}
	size, _ := n.number("sz=")
	disp, _ := n.number("bdisp=")
	b := &blkthrottle.Bio{Size: size}
	if g.Submit(now, b) {
		return fmt.Errorf("the model lets it pass at %d", now)
	}
	g.bios[b] = true
	r.dispatched++
	if disp != g.Dispatched() {
		return fmt.Errorf("the kernel has let %d bytes through, the model %d", disp, g.Dispatched())
	}
	if err := r.slice(g, n.group, slices.Concat(before, after)); err != nil {
		return err
	}
	return r.timer(after)
}

// dispatch is the timer.
func (r *replay) dispatch(n note) error {
	var notes []note
	var want int64
	for r.at < len(r.notes) && want == 0 {
		n := r.take()
		notes = append(notes, n)
		if n.is("schedule timer") {
			break
		}
		want, _ = n.number("bios disp=")
	}
	if want > 0 && r.at < len(r.notes) && r.notes[r.at].is("schedule timer") {
		notes = append(notes, r.take())
	}
	now, exact := clock(notes)
	if !exact {
		at, _ := r.disk.Next() // a timer does not fire too early
		now = r.choose(n, at)
	}
	gone := r.disk.Fire(now)
	r.fires++
	if int64(len(gone)) != want {
		return fmt.Errorf("at %d (exact: %t) the kernel lets %d reads go, the model %d", now, exact, want, len(gone))
	}
	for _, b := range gone {
		for _, g := range r.groups {
			if g.bios[b] {
				delete(g.bios, b)
				g.gone = append(g.gone, b.Size)
				r.letGo++
			}
		}
	}
	if err := r.timer(notes); err != nil {
		return err
	}
	_, waits := r.disk.Next()
	if again := waits && !notes[len(notes)-1].is("schedule timer"); want > 0 && !again && r.at < len(r.notes) && r.notes[r.at].is("dispatch") {
		r.until("bios disp=") // the level above the groups, which lets everything pass
	}
	return nil
}

// read is one that comes to the disk: it was let go, or passes.
func (r *replay) read(n note, before []note) error {
	g := r.groups[n.group]
	if g == nil {
		return nil // of others
	}
	if i := slices.Index(g.gone, n.bytes); i >= 0 {
		g.gone = slices.Delete(g.gone, i, i+1)
		return nil
	}
	if !g.limited {
		return nil
	}
	now, ok := clock(before)
	if !ok {
		now = r.choose(n, 0)
	}
	return r.pass(g, now, n, before)
}

// passed is a read that passes, and comes to the disk only when something else has happened.
func (r *replay) passed(before []note) error {
	if len(before) == 0 {
		return nil
	}
	r.at-- // what else has happened
	for i := r.at; i < len(r.notes); i++ {
		n := r.notes[i]
		if n.bytes == 0 || n.group != before[0].group {
			continue
		}
		now, ok := clock(before)
		if !ok {
			now = r.choose(before[0], 0)
		}
		g := r.group(n.group)
		g.gone = append(g.gone, n.bytes)
		return r.pass(g, now, n, before)
	}
	return nil
}

func (r *replay) pass(g *group, now int64, n note, before []note) error {
	r.passes++
	if !g.Submit(now, &blkthrottle.Bio{Size: n.bytes}) {
		return fmt.Errorf("the kernel lets it pass, the model does not at %d", now)
	}
	if len(before) == 0 {
		return nil
	}
	if last := before[len(before)-1]; !last.is("[R] trim") { // throtl_trim_slice moves the end without a word
		if start, _, ok := last.slice(); ok {
			r.slices++
			if s, _ := g.Slice(); s != start {
				return fmt.Errorf("the kernel's slice begins at %d, the model's at %d", start, s)
			}
		}
		return nil
	}
	return r.slice(g, n.group, before)
}
