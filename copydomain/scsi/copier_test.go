package scsi

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/dmcopy/dmcopy/copydomain/blocks"
)

const (
	testBlock = 512
	// half of the blocks of the test units are sources, half destinations.
	testHalf = 200
)

// stamped memory: every block holds its own number and that of its unit, so that a
// block in the wrong place shows.
func stamped(unit byte, n uint64) []byte {
	mem := make([]byte, n*testBlock)
	for i := range n {
		for j := range testBlock {
			mem[i*testBlock+uint64(j)] = byte((i+1)*uint64(j+7)>>(j%5)) ^ unit*0x35
		}
		copy(mem[i*testBlock:], []byte{byte(i), byte(i >> 8), unit})
	}
	return mem
}

func piece(src, dst, n uint64) blocks.Piece {
	return blocks.Piece{SrcLBA: src, DstLBA: dst, Blocks: n}
}

// rig is a copier between two stamped units, or within one.
type rig struct {
	*Copier
	loop             *Loopback
	from, to, before []byte // source, destination, destination as it was
	stamps           []byte // source as it was
}

// behave makes a target that reports and enforces exactly these limits.
func behave(l Limits) Behaviour {
	b := LIO()
	b.Parameters.Segments = l.Segments
	b.Parameters.SegmentBytes = l.SegmentBlocks * testBlock
	b.Parameters.ListBytes = 1 << 16
	b.Parameters.Granularity = uint64(l.Granularity) * testBlock
	b.Parameters.TotalConcurrent, b.Parameters.MaxConcurrent = 0, 0
	b.EnforcedSegmentBlocks, b.Granular = l.SegmentBlocks, true
	b.ChunkBytes = 3 * testBlock
	return b
}

func newRig(t testing.TB, b Behaviour, two bool, opts blocks.Options) *rig {
	t.Helper()
	r := &rig{from: stamped(0, 2*testHalf)}
	mems := [][]byte{r.from}
	if two {
		mems = append(mems, stamped(1, 2*testHalf))
	}
	r.to = mems[len(mems)-1]
	r.before, r.stamps = bytes.Clone(r.to), bytes.Clone(r.from)
	r.loop = NewMemoryLoopback(b, testBlock, mems...)
	var devices []*Device
	for i := range mems {
		d, err := Probe(t.Context(), r.loop.Unit(i))
		if err != nil {
			t.Fatal(err)
		}
		devices = append(devices, d)
	}
	var err error
	if r.Copier, err = NewCopier(devices[0], devices[len(devices)-1], opts); err != nil {
		t.Fatal(err)
	}
	r.ids = new(listIDs) // ghosts of other tests keep theirs
	return r
}

func (r *rig) copied(p blocks.Piece) bool {
	return bytes.Equal(r.to[p.DstLBA*testBlock:(p.DstLBA+p.Blocks)*testBlock], r.stamps[p.SrcLBA*testBlock:(p.SrcLBA+p.Blocks)*testBlock])
}

func (r *rig) untouched(p blocks.Piece) bool {
	at := p.Destination()
	return bytes.Equal(r.to[at.Start*testBlock:at.End*testBlock], r.before[at.Start*testBlock:at.End*testBlock])
}

// account checks that a result holds every block of the input exactly once, and
// that what it says of each is true of the bytes. It is called when nothing runs
// any more.
func (r *rig) account(input []blocks.Piece, res *blocks.Result) error {
	all := append([]blocks.Piece(nil), res.Done...)
	for _, p := range res.Done {
		if !r.copied(p) {
			return fmt.Errorf("done %v is not copied", p)
		}
	}
	for _, f := range res.Redo {
		all = append(all, f.Piece)
		if f.Untouched && !r.untouched(f.Piece) {
			return fmt.Errorf("untouched %v was written", f.Piece)
		}
		if f.Action == blocks.ActionDone || f.Action == blocks.ActionFence || f.Action.Again() || f.Reason == "" || f.Err == nil {
			return fmt.Errorf("redo %+v", f)
		}
	}
	for _, f := range res.Fenced {
		all = append(all, f.Pieces...)
		if f.Reason == "" || f.Err == nil || len(f.Pieces) == 0 {
			return fmt.Errorf("fence %+v", f)
		}
	}
	want, got, n := sources(input), sources(all), uint64(0)
	for _, p := range all {
		n += p.Blocks
	}
	if n != uint64(len(want)) || fmt.Sprint(want) != fmt.Sprint(got) {
		return fmt.Errorf("%v became %+v", input, res)
	}
	for lba := range uint64(2 * testHalf) {
		if _, mine := want[lba]; !mine && !r.untouched(piece(0, lba, 1)) {
			return fmt.Errorf("block %d is nobody's and was written", lba)
		}
	}
	return nil
}

// copies are the EXTENDED COPY commands that the target has got.
func (r *rig) copies(t testing.TB) []*List {
	t.Helper()
	lists, err := r.loop.Copies()
	if err != nil {
		t.Fatal(err)
	}
	return lists
}

func TestCopy(t *testing.T) {
	for name, b := range map[string]Behaviour{"limits": behave(Limits{8, 0, 3, 1}), "LIO": LIO(), "SCST": SCST(), "CTL": CTL()} {
		for _, two := range []bool{false, true} {
			r := newRig(t, b, two, blocks.Options{InFlight: 3})
			input := []blocks.Piece{piece(5, 300, 50), piece(100, 200, 10), piece(120, 210, 30), piece(0, 399, 1)}
			var checked uint64
			res, err := r.CopyGuarded(t.Context(), input, nil, func(c []blocks.Piece) error {
				for _, p := range c {
					checked += p.Blocks
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			if err := r.account(input, res); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if len(res.Redo) > 0 && name != "SCST" || len(res.Fenced)+res.Again != 0 || len(r.copies(t)) != res.Commands {
				t.Errorf("%s: %+v", name, res)
			}
			if name == "SCST" { // all are shorter than its granularity
				if res.Commands != 0 || len(res.Redo) != 4 || res.Redo[0].Reason != "limit:granularity" || !res.Redo[0].Untouched {
					t.Errorf("%+v", res)
				}
				continue
			}
			if checked != 91 {
				t.Errorf("%s: %d blocks checked", name, checked)
			}
			for _, e := range r.loop.Log() {
				if e.Command.Opcode() == OpThirdPartyOut && (e.Command.Timeout != 2*time.Minute || e.Unit != len(r.loop.units)-1) {
					t.Errorf("%s: issued to unit %d with timeout %v", name, e.Unit, e.Command.Timeout)
				}
			}
		}
	}
}

// Limits that the other targets have.
func TestCopyManners(t *testing.T) {
	input := []blocks.Piece{piece(0, 200, 128), piece(130, 328, 60)}
	long := CTL()
	long.Short = false
	ids := LIO()
	ids.Parameters.NoListID = false
	for name, tc := range map[string]struct {
		b        Behaviour
		two      bool
		commands int
		done     int
		form     Form
	}{
		"SCST copies whole granules": {SCST(), true, 1, 128, LID1},
		"long form":                  {long, true, 1, 188, LID4},
		"list identifiers":           {ids, true, 2, 188, LID1},
		"tcmu-runner":                {TCMURunner(), false, 2, 188, LID1},
	} {
		r := newRig(t, tc.b, tc.two, blocks.Options{})
		res, err := r.Copy(t.Context(), input)
		if err != nil {
			t.Fatal(err)
		}
		if err := r.account(input, res); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if done := len(sources(res.Done)); res.Commands != tc.commands || done != tc.done {
			t.Errorf("%s: %d commands, %d blocks", name, res.Commands, done)
		}
		seen := make(map[uint32]bool)
		for _, l := range r.copies(t) {
			if l.Form != tc.form || (l.ListID == 0) != tc.b.Parameters.NoListID || l.ListID != 0 && seen[l.ListID] {
				t.Errorf("%s: %+v", name, l)
			}
			seen[l.ListID] = true
		}
	}
}

func TestCopyRefusesTheBatch(t *testing.T) {
	for name, tc := range map[string]struct {
		pieces []blocks.Piece
		within error // nil: only between two units it is fine
		two    error
	}{
		"empty piece":              {[]blocks.Piece{piece(1, 300, 0)}, blocks.ErrInvalid, blocks.ErrInvalid},
		"wraps":                    {[]blocks.Piece{piece(1, ^uint64(0), 2)}, blocks.ErrInvalid, blocks.ErrInvalid},
		"source past the end":      {[]blocks.Piece{piece(399, 300, 2)}, blocks.ErrOutOfRange, blocks.ErrOutOfRange},
		"destination past the end": {[]blocks.Piece{piece(1, 399, 2)}, blocks.ErrOutOfRange, blocks.ErrOutOfRange},
		"same destination":         {[]blocks.Piece{piece(1, 300, 5), piece(50, 304, 5)}, blocks.ErrOverlap, blocks.ErrOverlap},
		"the same piece twice":     {[]blocks.Piece{piece(1, 300, 5), piece(1, 300, 5)}, blocks.ErrOverlap, blocks.ErrOverlap},
		"onto itself":              {[]blocks.Piece{piece(10, 10, 1)}, blocks.ErrOverlap, nil},
		"onto itself, moved":       {[]blocks.Piece{piece(10, 15, 10)}, blocks.ErrOverlap, nil},
		"one reads what one wrote": {[]blocks.Piece{piece(10, 300, 10), piece(305, 100, 1)}, blocks.ErrOverlap, nil},
		"one source for several":   {[]blocks.Piece{piece(1, 300, 5), piece(3, 310, 5), piece(1, 305, 5)}, nil, nil},
	} {
		for _, two := range []bool{false, true} {
			r := newRig(t, LIO(), two, blocks.Options{})
			want := tc.within
			if two {
				want = tc.two
			}
			if _, err := r.Copy(t.Context(), tc.pieces); !errors.Is(err, want) || (err == nil) != (want == nil) {
				t.Errorf("%s: %v, want %v", name, err, want)
			}
			if want != nil && len(r.copies(t)) != 0 {
				t.Errorf("%s: commands were issued", name)
			}
		}
	}
}

func TestCopyCheckKeepsTheRestAtHome(t *testing.T) {
	r := newRig(t, behave(Limits{8, 8, 1, 1}), true, blocks.Options{InFlight: 1})
	stale := errors.New("stale")
	input := []blocks.Piece{piece(0, 300, 40)}
	res, err := r.CopyGuarded(t.Context(), input, nil, func(c []blocks.Piece) error {
		if c[0].DstLBA >= 308 {
			return stale
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.account(input, res); err != nil {
		t.Fatal(err)
	}
	if res.Commands != 1 || len(res.Redo) != 2 {
		t.Fatalf("%+v", res)
	}
	for _, f := range res.Redo {
		if f.Action != blocks.ActionReresolve || !f.Untouched || !errors.Is(f.Err, stale) || f.Reason != "check:refused" {
			t.Errorf("%+v", f)
		}
	}
}

// failing makes the second command fail after five blocks, with junk behind them.
func failing(c Completion) func(int, *Command) Fault {
	return func(n int, _ *Command) Fault {
		if n != 1 {
			return Fault{}
		}
		return Fault{Completion: c, At: 5, Junk: true}
	}
}

// What each answer does to the command, which is redone as a whole, and to the
// rest of the batch.
func TestCopyFollowsTheTable(t *testing.T) {
	answers := map[string]Completion{"host": {Host: 3}, "short": {Resid: 4}}
	for s := range statuses {
		if s != Good {
			answers[s.String()] = Completion{Status: s}
		}
	}
	for code := range senses {
		answers[code.String()] = SenseCompletion(code)
	}
	for key := range senseKeys {
		code := SenseCode{SenseKey(key), 0x7E, 0x7E}
		answers[code.String()] = SenseCompletion(code)
	}
	for name, answer := range answers {
		o := Judge(answer, nil)
		if o.Action.Again() {
			continue
		}
		r := newRig(t, behave(Limits{8, 16, 2, 1}), true, blocks.Options{InFlight: 1})
		r.loop.SetFault(failing(answer))
		input := []blocks.Piece{piece(0, 300, 64)} // four commands
		if answer.Err() == nil {
			r.loop.SetFault(func(n int, _ *Command) Fault { return Fault{Completion: answer} })
		}
		res, err := r.Copy(t.Context(), input)
		if err != nil {
			t.Fatal(err)
		}
		if err := r.account(input, res); err != nil && !o.Untouched { // a device that lies
			t.Errorf("%s: %v", name, err)
		}
		wantCommands := 4
		if o.Action.Stops() {
			wantCommands = 2
		}
		if res.Commands != wantCommands {
			t.Errorf("%s: %d commands", name, res.Commands)
		}
		if o.Action == blocks.ActionFence {
			if len(res.Fenced) != 1 || fmt.Sprint(res.Fenced[0].Pieces) != "[16+16->316]" {
				t.Errorf("%s: %+v", name, res)
			}
			continue
		}
		first := res.Redo[0]
		if at := first.DstLBA; len(res.Fenced) != 0 || at != 316 && answer.Err() != nil || first.Blocks < 8 || first.Action != o.Action {
			t.Errorf("%s: %+v", name, res)
		}
	}
}

// temporary are all answers after which the same blocks are tried again, and some
// unit attentions.
func temporary() map[string]Completion {
	answers := make(map[string]Completion)
	for s, action := range statuses {
		if action.Again() {
			answers[s.String()] = Completion{Status: s}
		}
	}
	attentions := []SenseCode{
		{UnitAttention, 0x28, 0}, {UnitAttention, 0x29, 0}, {UnitAttention, 0x29, 7}, {UnitAttention, 0x2A, 1}, {UnitAttention, 0x2A, 3},
		{UnitAttention, 0x2A, 6}, {UnitAttention, 0x38, 7}, {UnitAttention, 0x3F, 0xE},
	}
	for code := range senses {
		if senses[code].Again() {
			attentions = append(attentions, code)
		}
	}
	for _, code := range attentions {
		answers[code.String()] = SenseCompletion(code)
	}
	return answers
}

// What is tried again succeeds, if the device lets it.
func TestCopyTriesAgain(t *testing.T) {
	for name, answer := range temporary() {
		synctest.Test(t, func(t *testing.T) {
			b := behave(Limits{8, 8, 1, 1})
			b.Parameters.NoListID = false
			r := newRig(t, b, true, blocks.Options{InFlight: 2})
			whole := r.Limits()
			r.loop.SetFault(func(n int, _ *Command) Fault {
				if n < 3 {
					return Fault{Completion: answer, At: 1, Junk: true}
				}
				return Fault{}
			})
			input := []blocks.Piece{piece(0, 300, 40)}
			res, err := r.Copy(t.Context(), input)
			if err != nil {
				t.Fatal(err)
			}
			if err := r.account(input, res); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if len(res.Redo)+len(res.Fenced) != 0 || res.Again == 0 || r.Limits() == whole && res.Commands != 5+3 {
				t.Errorf("%s: %+v", name, res)
			}
			seen := make(map[uint32]bool)
			for _, l := range r.copies(t)[:4] {
				if l.ListID == 0 || seen[l.ListID] {
					t.Errorf("%s: list identifier %d again", name, l.ListID)
				}
				seen[l.ListID] = true
			}
		})
	}
}

// Whoever says the same again and again is left alone, in bounded time.
func TestCopyGivesUpTrying(t *testing.T) {
	for name, tc := range map[string]struct {
		answer    Completion
		want      blocks.Action
		untouched bool
	}{
		"busy":           {Completion{Status: Busy}, blocks.ActionBackOff, true},
		"unit attention": {SenseCompletion(SenseCode{UnitAttention, 0x29, 0}), blocks.ActionBackOff, false},
		"identifier":     {SenseCompletion(SenseCode{IllegalRequest, 0, 0x16}), blocks.ActionBackOff, true},
		"too large":      {SenseCompletion(SenseCode{IllegalRequest, 0x26, 0}), blocks.ActionNotSupported, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, LIO(), true, blocks.Options{})
			r.loop.SetFault(func(int, *Command) Fault { return Fault{Completion: tc.answer} })
			start := time.Now()
			input := []blocks.Piece{piece(0, 300, 40)}
			res, err := r.Copy(t.Context(), input)
			if err != nil {
				t.Fatal(err)
			}
			if err := r.account(input, res); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if len(res.Done) != 0 || len(res.Redo) == 0 || res.Commands > 30 || time.Since(start) > 2*time.Second {
				t.Errorf("%s: %v, %+v", name, time.Since(start), res)
			}
			for _, f := range res.Redo {
				if f.Action != tc.want || f.Untouched != tc.untouched {
					t.Errorf("%s: %+v", name, f)
				}
			}
		})
	}
}

// Targets that say that they take more than they do.
func TestCopyHalves(t *testing.T) {
	short, segments := LIO(), CTL()
	short.EnforcedSegmentBlocks = 5
	segments.EnforcedSegments = 3
	var scattered []blocks.Piece
	for i := range uint64(60) {
		scattered = append(scattered, piece(100-i, 200+i, 1))
	}
	for name, tc := range map[string]struct {
		b     Behaviour
		input []blocks.Piece
		check func(Limits) bool
	}{
		"blocks":   {short, []blocks.Piece{piece(0, 210, 100), piece(150, 350, 10)}, func(l Limits) bool { return l.SegmentBlocks <= 5 && l.SegmentBlocks > 2 }},
		"segments": {segments, scattered, func(l Limits) bool { return l.Segments == 2 }},
	} {
		r := newRig(t, tc.b, true, blocks.Options{InFlight: 2})
		res, err := r.Copy(t.Context(), tc.input)
		if err != nil {
			t.Fatal(err)
		}
		if err := r.account(tc.input, res); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if len(res.Redo)+len(res.Fenced) != 0 || res.Again == 0 || !tc.check(r.Limits()) {
			t.Errorf("%s: %d again, limits %v", name, res.Again, r.Limits())
		}
		again, err := r.Copy(t.Context(), tc.input)
		if err != nil || again.Again != 0 {
			t.Errorf("%s: learned nothing: %+v, %v", name, again, err)
		}
	}
}

// Two batches that are refused at the same limits halve them once.
func TestLimitsAreHalvedOnce(t *testing.T) {
	r := newRig(t, behave(Limits{32, 64, 2, 1}), true, blocks.Options{})
	used := r.Limits()
	for range 2 {
		if !r.sizes.Shrink(used) || r.Limits() != (Limits{16, 32, 1, 1}) {
			t.Errorf("limits %v", r.Limits())
		}
	}
}

// A pair that has never copied and is out of reach stays so; later the same answer
// is an I/O error.
func TestCopyOutOfReach(t *testing.T) {
	unreachable := SenseCompletion(SenseCode{CopyAborted, 0x0D, 0x02})
	for at, want := range map[int]blocks.Action{0: blocks.ActionNotSupported, 1: blocks.ActionEmulate} {
		r := newRig(t, behave(Limits{8, 8, 1, 1}), true, blocks.Options{InFlight: 1})
		r.loop.SetFault(func(n int, _ *Command) Fault {
			if n == at {
				return Fault{Completion: unreachable}
			}
			return Fault{}
		})
		input := []blocks.Piece{piece(0, 300, 24)}
		res, err := r.Copy(t.Context(), input)
		if err != nil {
			t.Fatal(err)
		}
		if err := r.account(input, res); err != nil {
			t.Error(err)
		}
		if len(res.Redo) == 0 || res.Redo[0].Action != want || (want == blocks.ActionNotSupported) != (res.Commands == 1) {
			t.Errorf("at %d: %+v", at, res)
		}
	}
}

func TestCopyReservations(t *testing.T) {
	for unit, commands := range []int{1, 1} {
		for name, b := range map[string]Behaviour{"SCST": SCST(), "CTL": CTL()} {
			r := newRig(t, b, true, blocks.Options{})
			r.loop.Change(unit, func(u *LoopbackUnit) { u.Reserved = true })
			input := []blocks.Piece{piece(0, 200, 128)}
			res, err := r.Copy(t.Context(), input)
			if err != nil {
				t.Fatal(err)
			}
			if err := r.account(input, res); err != nil {
				t.Error(err)
			}
			if res.Commands != commands || len(res.Redo) != 1 || res.Redo[0].Action != blocks.ActionSurface {
				t.Errorf("%s, unit %d: %+v", name, unit, res)
			}
		}
	}
}

// Before a batch, and after a unit attention, the units are looked at again.
func TestCopyLooksAgain(t *testing.T) {
	changes := map[string]func(*LoopbackUnit){
		"name":     func(u *LoopbackUnit) { u.Designators = LoopbackIdentity(9, Capacity{}).Designators },
		"serial":   func(u *LoopbackUnit) { u.Serial = "other" },
		"capacity": func(u *LoopbackUnit) { u.Capacity.Blocks-- },
		"garbage":  func(u *LoopbackUnit) { u.Capacity.BlockSize = 7 },
	}
	for name, change := range changes {
		for unit := range 2 {
			r := newRig(t, LIO(), true, blocks.Options{})
			r.loop.Change(unit, change)
			input := []blocks.Piece{piece(0, 210, 100)}
			res, err := r.Copy(t.Context(), input)
			if err != nil {
				t.Fatal(err)
			}
			if err := r.account(input, res); err != nil {
				t.Error(err)
			}
			if len(r.copies(t)) != 0 || res.Redo[0].Action != blocks.ActionReresolve || !res.Redo[0].Untouched {
				t.Errorf("%s of unit %d: %+v", name, unit, res)
			}
		}
	}
	r := newRig(t, LIO(), true, blocks.Options{})
	r.loop.Change(1, func(u *LoopbackUnit) {
		u.Attention = []SenseCode{{UnitAttention, 0x29, 0}, {UnitAttention, 0x2A, 0x09}}
	})
	input := []blocks.Piece{piece(0, 210, 100)}
	if res, err := r.Copy(t.Context(), input); err != nil || len(res.Done) != 1 || r.account(input, res) != nil {
		t.Errorf("attention before the batch: %+v, %v", res, err)
	}
	r.loop.SetFault(func(n int, _ *Command) Fault {
		r.loop.units[0].Serial = "other" // under the lock of the loopback
		return Fault{Completion: SenseCompletion(SenseCode{UnitAttention, 0x29, 0})}
	})
	if res, err := r.Copy(t.Context(), input); err != nil || res.Redo[0].Action != blocks.ActionReresolve || !errors.Is(res.Redo[0].Err, blocks.ErrChanged) {
		t.Errorf("attention in the batch: %+v, %v", res, err)
	}
}

func TestCopyMaxCommandBytes(t *testing.T) {
	r := newRig(t, CTL(), true, blocks.Options{MaxCommandBytes: 10*testBlock + 1})
	res, err := r.Copy(t.Context(), []blocks.Piece{piece(0, 210, 100)})
	if err != nil || res.Commands != 10 {
		t.Errorf("%+v, %v", res, err)
	}
}

// The target says how many commands it takes at a time.
func TestCopyInFlight(t *testing.T) {
	for name, tc := range map[string]struct {
		total uint16
		with  uint8
		want  int
	}{"not told": {0, 0, 4}, "total": {3, 0, 3}, "with identifiers": {9, 2, 2}, "LIO": {1, 1, 1}} {
		synctest.Test(t, func(t *testing.T) {
			b := behave(Limits{4, 4, 1, 1})
			b.Parameters.TotalConcurrent, b.Parameters.MaxConcurrent = tc.total, tc.with
			r := newRig(t, b, true, blocks.Options{InFlight: 4})
			hold := make(chan struct{})
			r.loop.SetFault(func(int, *Command) Fault { return Fault{Hold: hold} })
			done := make(chan struct{})
			go func() {
				defer close(done)
				if _, err := r.Copy(t.Context(), []blocks.Piece{piece(0, 300, 40)}); err != nil {
					t.Error(err)
				}
			}()
			synctest.Wait()
			if n := len(r.copies(t)); n != tc.want {
				t.Errorf("%s: %d commands in flight", name, n)
			}
			close(hold)
			<-done
		})
	}
}

// A command that does not come back is fenced, the batch ends, nobody may use the
// blocks, by whatever pair, and when it comes back after all they are free again.
func TestCopyFencesWhatDoesNotComeBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, behave(Limits{8, 8, 1, 1}), true, blocks.Options{InFlight: 2, Timeout: time.Second, Grace: time.Second})
		back, err := NewCopier(r.dst, r.src, blocks.Options{})
		if err != nil {
			t.Fatal(err)
		}
		within, err := NewCopier(r.dst, r.dst, blocks.Options{})
		if err != nil {
			t.Fatal(err)
		}
		hold := make(chan struct{})
		r.loop.SetFault(func(n int, c *Command) Fault {
			if n == 1 {
				return Fault{Hold: hold}
			}
			return Fault{}
		})
		input := []blocks.Piece{piece(0, 300, 16)}
		res, err := r.Copy(t.Context(), input)
		if err != nil {
			t.Fatal(err)
		}
		if err := r.account(input, res); err != nil {
			t.Fatal(err)
		}
		if len(res.Fenced) != 1 || len(res.Redo) != 0 || len(res.Fenced[0].Pieces) != 1 || !errors.Is(res.Fenced[0].Err, blocks.ErrTimeout) {
			t.Fatalf("%+v", res)
		}
		fence := res.Fenced[0]
		lost := fence.Pieces[0]
		for name, tc := range map[string]struct {
			c *Copier
			p blocks.Piece
		}{
			"again":                {r.Copier, lost},
			"onto one block":       {r.Copier, piece(100, lost.DstLBA+7, 1)},
			"around the fence":     {r.Copier, piece(100, lost.DstLBA-1, 20)},
			"from the torn":        {back, piece(lost.DstLBA, 350, 1)},
			"from the torn within": {within, piece(lost.DstLBA, 350, 1)},
			"onto it within":       {within, piece(0, lost.DstLBA, 1)},
		} {
			if _, err := tc.c.Copy(t.Context(), []blocks.Piece{tc.p}); !errors.Is(err, blocks.ErrFenced) {
				t.Errorf("%s: %v", name, err)
			}
		}
		free := []blocks.Piece{piece(lost.SrcLBA, 380, lost.Blocks)} // its source may be read
		if res, err := r.Copy(t.Context(), free); err != nil || len(res.Done) != 1 {
			t.Errorf("%+v, %v", res, err)
		}
		close(hold)
		<-fence.Ended()
		res, err = r.Copy(t.Context(), []blocks.Piece{lost})
		if err != nil || len(res.Done) != 1 || !r.copied(lost) {
			t.Errorf("%+v, %v", res, err)
		}
	})
}

// EINTR comes back at once and proves nothing: the fence stays, the parameter list
// stays as it was, and its list identifier is not used again.
func TestCopyFencesGhosts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := behave(Limits{8, 8, 1, 1})
		b.Parameters.NoListID = false
		r := newRig(t, b, true, blocks.Options{InFlight: 1})
		hold := make(chan struct{})
		r.loop.SetFault(func(n int, c *Command) Fault {
			if n == 0 {
				return Fault{Lost: unix.EINTR, Hold: hold}
			}
			return Fault{}
		})
		input := []blocks.Piece{piece(0, 300, 8)}
		res, err := r.Copy(t.Context(), input)
		if err != nil || len(res.Fenced) != 1 || res.Fenced[0].Reason != "device:errno-eintr" {
			t.Fatalf("%+v, %v", res, err)
		}
		lost := r.copies(t)[0].ListID
		for i := range 300 { // would reuse the buffer and the identifier, if it could
			if res, err := r.Copy(t.Context(), []blocks.Piece{piece(100, 380, 1)}); err != nil || len(res.Done) != 1 {
				t.Fatalf("%d: %+v, %v", i, res, err)
			}
		}
		for _, l := range r.copies(t)[1:] {
			if l.ListID == lost || l.ListID == 0 {
				t.Fatalf("list identifier %d", l.ListID)
			}
		}
		close(hold)
		r.loop.Wait()
		if !r.copied(input[0]) {
			t.Error("the ghost read another list")
		}
		select {
		case <-res.Fenced[0].Ended():
			t.Error("nothing has proven that it ended")
		default:
		}
		if _, err := r.Copy(t.Context(), input); !errors.Is(err, blocks.ErrFenced) {
			t.Error(err)
		}
	})
}

func TestListIDs(t *testing.T) {
	var ids listIDs
	seen := make(map[uint32]bool)
	for range 255 {
		id := ids.take()
		if id == 0 || id > 255 || seen[id] {
			t.Fatalf("identifier %d", id)
		}
		seen[id] = true
	}
	if id := ids.take(); id != 0 {
		t.Errorf("identifier %d is used twice", id)
	}
	ids.give(77)
	if id := ids.take(); id != 77 {
		t.Errorf("identifier %d", id)
	}
}

// named faults are everything that can become of a command. Those with hold are
// ghosts or commands that never come back in time.
type namedFault struct {
	name string
	Fault
	held bool
}

func namedFaults() []namedFault {
	var all []namedFault
	add := func(name string, f Fault, held bool) { all = append(all, namedFault{name, f, held}) }
	for _, code := range []SenseCode{
		{3, 0x11, 0}, {5, 0x26, 0}, {5, 0x26, 8}, {5, 0x20, 0}, {5, 0x21, 0}, {6, 0x29, 0}, {0xA, 0x0D, 2}, {0xB, 0x47, 3}, {7, 0x27, 0}, {2, 4, 1},
	} {
		for _, at := range []uint64{0, 3} {
			add(fmt.Sprint(code, " at ", at), Fault{Completion: SenseCompletion(code), At: at, Junk: true}, false)
		}
	}
	add("busy", Fault{Completion: Completion{Status: Busy}}, false)
	add("conflict", Fault{Completion: Completion{Status: ReservationConflict}}, false)
	add("task aborted", Fault{Completion: Completion{Status: TaskAborted}, At: 2, Junk: true}, false)
	add("reserved status", Fault{Completion: Completion{Status: 0x7C}, At: 2, Junk: true}, false)
	add("host", Fault{Completion: Completion{Host: 3}, At: 2, Junk: true}, false)
	add("no sense", Fault{Completion: Completion{Status: CheckCondition}, At: 1, Junk: true}, false)
	add("lost", Fault{Lost: unix.EINTR, Completion: Completion{Host: 3}, At: 1, Junk: true}, false)
	add("ghost", Fault{Lost: unix.EIO}, true)
	add("late", Fault{}, true)
	add("not issued", Fault{Lost: fmt.Errorf("%w: %w", blocks.ErrNotIssued, unix.ENOMEM)}, false)
	return all
}

// trial copies with faults, one after the other and again from the start, and
// checks what is said of the blocks; then what is to be redone is redone.
func trial(t *testing.T, b Behaviour, two bool, inFlight int, input []blocks.Piece, faults []namedFault) (res *blocks.Result, err error) {
	synctest.Test(t, func(t *testing.T) {
		hold := make(chan struct{})
		r := newRig(t, b, two, blocks.Options{InFlight: inFlight, Timeout: time.Second, Grace: time.Second})
		r.loop.SetFault(func(n int, c *Command) Fault {
			f := faults[n%len(faults)]
			if f.held {
				f.Hold = hold
			}
			return f.Fault
		})
		res, err = r.Copy(t.Context(), input)
		close(hold)
		r.loop.Wait()
		synctest.Wait()
		if err != nil {
			return
		}
		if err = r.account(input, res); err != nil {
			return
		}
		if all, free := cap(r.issuer.Slots), len(r.issuer.Slots); all != free {
			err = fmt.Errorf("%d of %d slots came back", free, all)
			return
		}
		redone := append([]blocks.Piece(nil), res.Done...)
		for _, f := range res.Redo {
			copy(r.to[f.DstLBA*testBlock:], r.stamps[f.SrcLBA*testBlock:(f.SrcLBA+f.Blocks)*testBlock])
			redone = append(redone, f.Piece)
		}
		err = r.account(input, &blocks.Result{Done: redone, Fenced: res.Fenced})
	})
	return res, err
}

// Every fault, at every place of a batch, alone: nothing is left to chance.
func TestCopyLosesNothingToAnyFault(t *testing.T) {
	input := []blocks.Piece{piece(0, 200, 20), piece(40, 230, 7), piece(90, 260, 9)}
	var fenced, redone, again int
	for _, fault := range namedFaults() {
		for at := range 5 {
			for _, two := range []bool{false, true} {
				faults := make([]namedFault, 64)
				faults[at] = fault
				res, err := trial(t, behave(Limits{4, 8, 2, 1}), two, 2, input, faults)
				if err != nil {
					t.Errorf("%s at command %d: %v", fault.name, at, err)
					continue
				}
				fenced += len(res.Fenced)
				redone += len(res.Redo)
				again += res.Again
			}
		}
	}
	if fenced == 0 || redone == 0 || again == 0 {
		t.Errorf("%d fences, %d redone, %d again", fenced, redone, again)
	}
}

// The heart: whatever the device does, every block is accounted for, what is said
// of it is true, and redoing what may be redone gives the copy outside the fences.
func TestCopyLosesNothing(t *testing.T) {
	all := namedFaults()
	rapid.Check(t, func(rt *rapid.T) {
		limits, pieces := drawLimits(rt), drawPieces(rt, testHalf)
		input := rapid.Permutation(pieces).Draw(rt, "order")
		faults := make([]namedFault, rapid.IntRange(1, 12).Draw(rt, "faults"))
		for i := range faults {
			if rapid.Bool().Draw(rt, "fault") {
				faults[i] = rapid.SampledFrom(all).Draw(rt, "which")
			}
		}
		b := behave(limits)
		b.Parameters.NoListID = rapid.Bool().Draw(rt, "no list identifier")
		b.Descriptor = rapid.Bool().Draw(rt, "descriptor sense")
		if _, err := trial(t, b, rapid.Bool().Draw(rt, "two units"), rapid.IntRange(1, 4).Draw(rt, "in flight"), input, faults); err != nil {
			rt.Fatal(err)
		}
	})
}
