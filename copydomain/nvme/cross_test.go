package nvme

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/dmcopy/dmcopy/copydomain/blocks"
	"github.com/dmcopy/dmcopy/internal/sysfs"
)

// crossRig is a controller with two namespaces, and a copier from one to the
// other.
type crossRig struct {
	*Copier
	loop           *Loopback
	from, into     *Device
	srcMem, dstMem []byte
	before         []byte // of the destination
}

// twoNamespaces makes a controller with namespaces 1 and 2 of 2×testHalf blocks,
// that takes format 2 if told.
func twoNamespaces(first, second Limits, change func(c *Controller, a, b *LoopbackNamespace)) (*Loopback, []byte, []byte) {
	mems := [2][]byte{stamped(2 * testHalf), stamped(2 * testHalf)}
	for i := range mems[1] {
		mems[1][i] ^= 0x5A
	}
	c := Controller{Serial: "LOOP0002", Model: "two", SubNQN: "nqn", CNTLID: 1, Copy: true, CopyFormats: 0xF, EffectsLog: true}
	var ns [2]LoopbackNamespace
	for i, limits := range []Limits{first, second} {
		ns[i] = LoopbackNamespace{
			NSID:      uint32(i + 1),
			Namespace: Namespace{Blocks: 2 * testHalf, BlockSize: testBlock, Limits: limits, NGUID: [16]byte{15: byte(i + 1)}},
			Backing:   blocks.Memory(mems[i]),
		}
	}
	if change != nil {
		change(&c, &ns[0], &ns[1])
	}
	return NewLoopback(c, ns[:]...), mems[0], mems[1]
}

func probed(t testing.TB, l Transport, nsid uint32) *Device {
	t.Helper()
	d, err := Probe(context.Background(), l, nsid)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func newCrossRig(t testing.TB, first, second Limits, opts blocks.Options) *crossRig {
	t.Helper()
	r := &crossRig{}
	r.loop, r.srcMem, r.dstMem = twoNamespaces(first, second, nil)
	r.before = bytes.Clone(r.dstMem)
	r.loop.SetBehavior(HostBehavior{}.WithCopyFormat(Format2, true))
	r.from, r.into = probed(t, r.loop, 1), probed(t, r.loop, 2)
	var err error
	if r.Copier, err = NewCrossCopier(r.from, r.into, opts); err != nil {
		t.Fatal(err)
	}
	return r
}

// wrong finds a block of the destination that is not what the pieces make of it.
func (r *crossRig) wrong(pieces []blocks.Piece) error {
	want := bytes.Clone(r.before)
	for _, p := range pieces {
		copy(want[p.DstLBA*testBlock:(p.DstLBA+p.Blocks)*testBlock], r.srcMem[p.SrcLBA*testBlock:])
	}
	for lba := range uint64(2 * testHalf) {
		if !bytes.Equal(block(r.dstMem, lba), block(want, lba)) {
			return fmt.Errorf("block %d is wrong", lba)
		}
	}
	return nil
}

// Whatever goes from one namespace to the other arrives, within the limits of
// both, by format 2 and from one source each. That the same numbers are read in
// one and written in the other is no overlap.
func TestCrossCopy(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		first, second := drawLimits(t), drawLimits(t)
		l, srcMem, dstMem := twoNamespaces(first, second, nil)
		l.SetBehavior(HostBehavior{}.WithCopyFormat(Format2, true))
		src, err := Probe(t.Context(), l, 1)
		if err != nil {
			t.Fatal(err)
		}
		dst, err := Probe(t.Context(), l, 2)
		if err != nil {
			t.Fatal(err)
		}
		c, err := NewCrossCopier(src, dst, blocks.Options{InFlight: rapid.IntRange(1, 3).Draw(t, "in flight")})
		if err != nil {
			t.Fatal(err)
		}
		r := &crossRig{Copier: c, loop: l, srcMem: srcMem, dstMem: dstMem, before: bytes.Clone(dstMem)}
		pieces := drawPieces(t, testHalf)
		if rapid.Bool().Draw(t, "in place") {
			for i := range pieces {
				pieces[i].SrcLBA = pieces[i].DstLBA
			}
		}
		res, err := c.Copy(t.Context(), pieces)
		if err != nil || len(res.Redo)+len(res.Fenced) > 0 || res.Again > 0 {
			t.Fatalf("%+v, %v", res, err)
		}
		if err := r.wrong(pieces); err != nil {
			t.Fatal(err)
		}
		limits := first.Min(second)
		for _, e := range l.Log() {
			if e.Admin {
				continue
			}
			cmd, snsid, err := decodeCopy(&e.Command)
			if err != nil || formatOf(&e.Command) != Format2 || snsid != 1 || e.Command.NSID != 2 {
				t.Fatalf("%+v, %v", e.Command, err)
			}
			if len(cmd.Ranges) > int(limits.Ranges) || cmd.Blocks() > uint64(limits.CommandBlocks) {
				t.Fatalf("%+v breaks %v", cmd, limits)
			}
		}
	})
}

func TestCrossCopyRefusesTheBatch(t *testing.T) {
	for name, tc := range map[string]struct {
		pieces []blocks.Piece
		want   error
	}{
		"source past its end":      {[]blocks.Piece{piece(295, 100, 10)}, blocks.ErrOutOfRange},
		"destination past its end": {[]blocks.Piece{piece(0, 395, 10)}, blocks.ErrOutOfRange},
		"same destination":         {[]blocks.Piece{piece(1, 300, 5), piece(50, 304, 5)}, blocks.ErrOverlap},
		"empty":                    {[]blocks.Piece{piece(1, 300, 0)}, blocks.ErrInvalid},
	} {
		r := newCrossRig(t, Limits{8, 32, 4}, Limits{8, 32, 4}, blocks.Options{})
		r.from.Namespace.Blocks = 300
		if _, err := r.Copy(t.Context(), tc.pieces); !errors.Is(err, tc.want) {
			t.Errorf("%s: %v, want %v", name, err, tc.want)
		}
		if err := r.wrong(nil); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	r := newCrossRig(t, Limits{8, 32, 4}, Limits{8, 32, 4}, blocks.Options{})
	if _, err := r.Copy(t.Context(), []blocks.Piece{piece(350, 100, 20)}); err != nil { // of 400 blocks
		t.Error(err)
	}
}

// The limits of either namespace are read again, and either may have changed.
func TestCrossCopyRereadsBothLimits(t *testing.T) {
	for nsid, want := range map[uint32]Limits{1: {5, 64, 8}, 2: {32, 20, 3}} {
		r := newCrossRig(t, Limits{32, 64, 8}, Limits{32, 64, 8}, blocks.Options{InFlight: 1})
		r.loop.SetEnforced(nsid, want)
		r.loop.SetReported(nsid, want)
		input := []blocks.Piece{piece(0, 210, 100)}
		res, err := r.Copy(t.Context(), input)
		if err != nil || len(res.Redo)+len(res.Fenced) > 0 || res.Again != 1 || r.Limits() != want {
			t.Errorf("namespace %d: %+v, %v, limits %v", nsid, res, err, r.Limits())
		}
		if err := r.wrong(input); err != nil {
			t.Error(err)
		}
	}
	r := newCrossRig(t, Limits{32, 64, 8}, Limits{32, 64, 8}, blocks.Options{})
	r.loop.SetEnforced(1, Limits{1, 1, 1})
	r.loop.namespaces[1].NGUID[0] ^= 1
	res, err := r.Copy(t.Context(), []blocks.Piece{piece(0, 210, 100)})
	if err != nil || len(res.Redo) == 0 || res.Redo[0].Action != blocks.ActionReresolve || !errors.Is(res.Redo[0].Err, blocks.ErrChanged) {
		t.Errorf("another source: %+v, %v", res, err)
	}
}

// Nothing is written when the controller does not take the format any more, or
// finds the namespaces unlike each other.
func TestCrossCopyRefusedByTheController(t *testing.T) {
	for name, tc := range map[string]struct {
		spoil func(l *Loopback)
		want  Status
	}{
		"reset":               {func(l *Loopback) { l.SetBehavior(HostBehavior{}) }, StatusInvalidField},
		"format 3 only":       {func(l *Loopback) { l.SetBehavior(HostBehavior{}.WithCopyFormat(Format3, true)) }, StatusInvalidField},
		"source detached":     {func(l *Loopback) { delete(l.namespaces, 1) }, StatusInvalidField},
		"destination is gone": {func(l *Loopback) { delete(l.namespaces, 2) }, StatusInvalidNamespace},
		"source reformatted":  {func(l *Loopback) { l.namespaces[1].BlockSize = 4096 }, StatusIncompatible},
		"not reachable": {func(l *Loopback) {
			l.SetFault(func(int, *Command) Fault { return Fault{Status: StatusNotReachable} })
		}, StatusNotReachable},
	} {
		r := newCrossRig(t, Limits{8, 32, 4}, Limits{8, 32, 4}, blocks.Options{})
		tc.spoil(r.loop)
		res, err := r.Copy(t.Context(), []blocks.Piece{piece(0, 210, 100)})
		if err != nil || len(res.Fenced) > 0 || len(res.Done) > 0 || len(res.Redo) == 0 {
			t.Fatalf("%s: %+v, %v", name, res, err)
		}
		for _, f := range res.Redo {
			if f.Action != blocks.ActionNotSupported || !errors.Is(f.Err, tc.want) {
				t.Errorf("%s: %+v", name, f)
			}
		}
		if err := r.wrong(nil); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Copiers with a namespace in common mind each other's fences and batches, as far
// as one writes what the other touches.
func TestRangeLocksAreByNamespace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		opts := blocks.Options{InFlight: 4, Timeout: time.Second, Grace: time.Second}
		r := newCrossRig(t, Limits{8, 8, 1}, Limits{8, 8, 1}, opts)
		var err error
		copiers := map[string]*Copier{"1 to 2": r.Copier}
		for name, d := range map[string][2]*Device{"1 to 1": {r.from, r.from}, "2 to 2": {r.into, r.into}, "2 to 1": {r.into, r.from}} {
			if copiers[name], err = newCopier(d[0], d[1], opts); err != nil {
				t.Fatal(err)
			}
		}
		hold := make(chan struct{})
		r.loop.SetFault(func(n int, c *Command) Fault {
			if n == 0 {
				return Fault{Hold: hold}
			}
			return Fault{}
		})
		tries := []struct {
			by       string
			piece    blocks.Piece
			underWay bool // refused while the command runs
			fenced   bool // refused when it is given up
		}{
			{"1 to 2", piece(0, 303, 1), true, true},
			{"2 to 2", piece(0, 303, 1), true, true},
			{"2 to 2", piece(303, 0, 1), true, true},
			{"2 to 1", piece(303, 0, 1), true, true},
			{"2 to 1", piece(0, 103, 1), true, false}, // writes what is read
			{"1 to 1", piece(0, 103, 1), true, false},
			{"1 to 1", piece(103, 303, 1), false, false}, // block 303 of the other namespace
			{"2 to 1", piece(103, 303, 1), false, false},
			{"2 to 2", piece(103, 200, 1), false, false},
			{"1 to 2", piece(103, 210, 1), false, false},
		}
		done := make(chan *blocks.Result)
		go func() {
			res, err := r.Copy(t.Context(), []blocks.Piece{piece(100, 300, 8)})
			if err != nil {
				t.Error(err)
			}
			done <- res
		}()
		synctest.Wait()
		for _, try := range tries {
			if _, err := copiers[try.by].Copy(t.Context(), []blocks.Piece{try.piece}); errors.Is(err, blocks.ErrOverlap) != try.underWay || err != nil && !try.underWay {
				t.Errorf("%s %v while a command runs: %v", try.by, try.piece, err)
			}
		}
		if res := <-done; len(res.Fenced) != 1 {
			t.Fatalf("%+v", res)
		}
		for _, try := range tries {
			if _, err := copiers[try.by].Copy(t.Context(), []blocks.Piece{try.piece}); errors.Is(err, blocks.ErrFenced) != try.fenced || err != nil && !try.fenced {
				t.Errorf("%s %v beside a fence: %v", try.by, try.piece, err)
			}
		}
		close(hold)
		synctest.Wait()
		for name, c := range copiers {
			if _, err := c.Copy(t.Context(), []blocks.Piece{piece(20, 303, 1)}); err != nil {
				t.Errorf("%s when the fence is over: %v", name, err)
			}
		}
	})
}

func TestCrossNamespaceSupport(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(c *Controller, a, b *LoopbackNamespace)
		edit   func(a, b *Device)
		want   string
	}{
		"able":              {nil, nil, ""},
		"no format 2":       {func(c *Controller, _, _ *LoopbackNamespace) { c.CopyFormats = 0b1011 }, nil, reasonFormat2},
		"block sizes":       {func(_ *Controller, _, b *LoopbackNamespace) { b.BlockSize, b.Blocks = 4096, 50 }, nil, reasonBlockSize},
		"one name for both": {func(_ *Controller, a, b *LoopbackNamespace) { b.NGUID = a.NGUID }, nil, reasonSameNSID},
		"no names":          {func(_ *Controller, a, b *LoopbackNamespace) { a.NGUID, b.NGUID = [16]byte{}, [16]byte{} }, nil, ""},
		"the same one":      {nil, func(_, b *Device) { b.NSID = 1 }, reasonSameNSID},
		"another subsystem": {nil, func(_, b *Device) { b.Controller.SubNQN = "other" }, reasonSubsystem},
		"no subsystem":      {nil, func(a, b *Device) { a.Controller.SubNQN, b.Controller.SubNQN = "", "" }, reasonSubsystem},
	} {
		l, _, _ := twoNamespaces(Limits{8, 32, 4}, Limits{8, 32, 4}, tc.change)
		a, b := probed(t, l, 1), probed(t, l, 2)
		if tc.edit != nil {
			tc.edit(a, b)
		}
		got := CrossNamespaceSupport(a, b)
		if got.Reason != tc.want || (got.Able == blocks.Yes) != (tc.want == "") || (got.Detail == "") != (tc.want == "") {
			t.Errorf("%s: %+v", name, got)
		}
		if _, err := NewCrossCopier(a, b, blocks.Options{}); (err == nil) != (tc.want == "") || err != nil && !errors.Is(err, blocks.ErrNotSupported) {
			t.Errorf("%s: NewCrossCopier: %v", name, err)
		}
	}
	// Protection information is refused by Probe already, on either side.
	for side := range 2 {
		l, _, _ := twoNamespaces(Limits{8, 32, 4}, Limits{8, 32, 4}, func(_ *Controller, a, b *LoopbackNamespace) {
			n := []*LoopbackNamespace{a, b}[side]
			n.MetadataSize, n.Protection = 8, 1
		})
		if _, err := NewCrossCopier(probed(t, l, 1), probed(t, l, 2), blocks.Options{}); !errors.Is(err, blocks.ErrNotSupported) {
			t.Errorf("protection information on side %d: %v", side, err)
		}
	}
}

// What another controller of the subsystem has to say of both namespaces.
func TestAttached(t *testing.T) {
	limits := Limits{8, 32, 4}
	l, _, _ := twoNamespaces(limits, limits, nil)
	src, dst := probed(t, l, 1), probed(t, l, 2)
	for name, tc := range map[string]struct {
		change func(c *Controller, a, b *LoopbackNamespace)
		want   string
	}{
		"both":                 {func(c *Controller, _, _ *LoopbackNamespace) { c.CNTLID = 2 }, ""},
		"smaller limits":       {func(_ *Controller, a, _ *LoopbackNamespace) { a.Limits.Ranges = 1 }, ""}, // the device refuses, and they are read again
		"not the source":       {func(_ *Controller, a, _ *LoopbackNamespace) { a.NSID = 9 }, reasonNotReachable},
		"not the destination":  {func(_ *Controller, _, b *LoopbackNamespace) { b.NSID = 9 }, reasonNotReachable},
		"inactive":             {func(_ *Controller, a, _ *LoopbackNamespace) { a.Blocks = 0 }, reasonNotReachable},
		"a private one":        {func(_ *Controller, a, _ *LoopbackNamespace) { a.NGUID[0] = 7 }, reasonNotReachable},
		"of another size":      {func(_ *Controller, a, _ *LoopbackNamespace) { a.Blocks-- }, reasonNotReachable},
		"older firmware":       {func(c *Controller, _, _ *LoopbackNamespace) { c.CopyFormats = 1 }, reasonFormat2},
		"of another subsystem": {func(c *Controller, _, _ *LoopbackNamespace) { c.SubNQN = "other" }, reasonSubsystem},
		"of no subsystem":      {func(c *Controller, _, _ *LoopbackNamespace) { c.SubNQN = "" }, reasonSubsystem},
	} {
		other, _, _ := twoNamespaces(limits, limits, tc.change)
		got, err := Attached(t.Context(), other, src, dst)
		if err != nil || got.Reason != tc.want || (got.Able == blocks.Yes) != (tc.want == "") {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	l.SetAdminFault(func(*Command) (Status, error) { return 0, unix.EIO })
	if _, err := Attached(t.Context(), l, src, dst); !errors.Is(err, unix.EIO) {
		t.Error(err)
	}
}

func TestHostBehavior(t *testing.T) {
	var raw HostBehavior
	for i := range raw {
		raw[i] = byte(i * 7)
	}
	raw[4], raw[5] = 0x18, 0x80
	on := raw.WithCopyFormat(Format2, true)
	want := raw
	want[4] = 0x1C
	if on != want || !on.CopyFormats().Has(Format2) || on.CopyFormats() != 0x801C || on.WithCopyFormat(Format2, false) != raw {
		t.Errorf("bytes 5:4 became %x", on[4:6])
	}
}

// Every byte but the bit that is asked for stays, and what the controller says
// afterwards counts.
func TestSetCopyFormat(t *testing.T) {
	others := HostBehavior{0: 1, 2: 1, 4: 0x8, 300: 0xAA}
	l, _, _ := twoNamespaces(Limits{8, 32, 4}, Limits{8, 32, 4}, nil)
	l.SetBehavior(others)
	if changed, err := SetCopyFormat(t.Context(), l, Format2, true); changed || !errors.Is(err, blocks.ErrNotAllowed) || l.Behavior() != others {
		t.Errorf("without permission: %v, %v", changed, err)
	}
	l.AllowSetBehavior()
	for _, step := range []struct{ on, changed bool }{{true, true}, {true, false}, {false, true}, {false, false}} {
		changed, err := SetCopyFormat(t.Context(), l, Format2, step.on)
		if err != nil || changed != step.changed || l.Behavior() != others.WithCopyFormat(Format2, step.on) {
			t.Errorf("%+v: %v, %v, %x", step, changed, err, l.Behavior())
		}
	}
	for name, tc := range map[string]struct {
		fault   func(c *Command) (Status, error)
		changed bool
		want    error
	}{
		"the kernel's filter": {func(c *Command) (Status, error) {
			if c.Opcode == OpSetFeatures {
				return 0, fmt.Errorf("%w: %w", blocks.ErrNotIssued, unix.EACCES)
			}
			return 0, nil
		}, false, unix.EACCES},
		"without privilege": {func(c *Command) (Status, error) { return 0, fmt.Errorf("%w: %w", blocks.ErrNotIssued, unix.EACCES) }, false, unix.EACCES},
		"refused": {func(c *Command) (Status, error) {
			if c.Opcode == OpSetFeatures {
				return StatusInvalidField, nil
			}
			return 0, nil
		}, false, StatusInvalidField},
		"no answer": {func(c *Command) (Status, error) {
			if c.Opcode == OpSetFeatures {
				return 0, unix.EINTR
			}
			return 0, nil
		}, true, unix.EINTR},
	} {
		l.SetBehavior(others)
		l.SetAdminFault(tc.fault)
		if changed, err := SetCopyFormat(t.Context(), l, Format2, true); changed != tc.changed || !errors.Is(err, tc.want) {
			t.Errorf("%s: %v, %v", name, changed, err)
		}
	}
	l.SetAdminFault(nil)
	deaf := adminFault{l, func(c *Command) (Completion, error, bool) { return Completion{}, nil, c.Opcode == OpSetFeatures }}
	l.SetBehavior(others)
	if changed, err := SetCopyFormat(t.Context(), deaf, Format2, true); !changed || !errors.Is(err, blocks.ErrNotSupported) {
		t.Errorf("a controller that does not do it: %v, %v", changed, err)
	}
}

// fakeDisks makes links as the kernel does: a head links to its subsystem, a path and
// a disk without multipath to their controller.
func fakeDisks(t *testing.T, disks map[string]string) sysfs.Root {
	t.Helper()
	root := t.TempDir()
	sys := filepath.Join(root, "sys")
	for name, device := range disks {
		dir := filepath.Join(sys, "devices", device, name)
		if err := errors.Join(
			os.MkdirAll(dir, 0o700), os.MkdirAll(filepath.Join(sys, "block"), 0o700),
			os.Symlink(filepath.Join(sys, "devices", device), filepath.Join(dir, "device")),
			os.Symlink(dir, filepath.Join(sys, "block", name)),
		); err != nil {
			t.Fatal(err)
		}
	}
	return sysfs.Root(root)
}

func TestControllers(t *testing.T) {
	sys := fakeDisks(t, map[string]string{
		"nvme0n1":    "nvme0",
		"nvme1n1":    "nvme-subsys1",
		"nvme1c3n1":  "nvme3",
		"nvme1c2n1":  "nvme2",
		"nvme1n12":   "nvme-subsys1",
		"nvme1c2n12": "nvme2",
		"nvme4n1":    "nvme-subsys4",
		"nvme5n1":    "somewhere",
	})
	for name, want := range map[string]string{"nvme0n1": "[nvme0]", "nvme1n1": "[nvme2 nvme3]", "nvme1n12": "[nvme2]"} {
		if got, err := controllersIn(sys, name); err != nil || fmt.Sprint(got) != want {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	for name, want := range map[string]error{
		"nvme4n1": ErrInactive, "nvme5n1": ErrNotNVMe, "nvme9n1": os.ErrNotExist, "sda": ErrNotNVMe, "nvme0n1p1": ErrNotNVMe, "../block/nvme0n1": ErrNotNVMe,
	} {
		if got, err := controllersIn(sys, name); !errors.Is(err, want) {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
}

func TestOpenController(t *testing.T) {
	sys := fakeSystem(t, []string{"nvme3"}, map[string]string{"nvme/nvme3": "1:3"})
	for _, name := range []string{"", "nvme3n1", "../nvme3", "nvme3\n", "ng3"} {
		if _, err := sys.openController(name); !errors.Is(err, ErrNotNVMe) {
			t.Errorf("%q: %v", name, err)
		}
	}
	f, err := sys.openController("nvme3")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.IO(t.Context(), &Command{Opcode: OpFlush}); !errors.Is(err, blocks.ErrNotIssued) {
		t.Errorf("an I/O command for a controller: %v", err)
	}
	set := sendable(OpSetFeatures)
	if _, err := f.Admin(t.Context(), &set); !errors.Is(err, blocks.ErrNotAllowed) {
		t.Errorf("set without permission: %v", err)
	}
	f.AllowSetBehavior()
	if _, err := f.Admin(t.Context(), &set); errors.Is(err, blocks.ErrNotAllowed) || !errors.Is(err, unix.ENOTTY) {
		t.Errorf("set on another device: %v", err)
	}
}
