package copydomain_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/copydomain"
	"github.com/dmcopy/dmcopy/copydomain/blocks"
	"github.com/dmcopy/dmcopy/copydomain/nvme"
	"github.com/dmcopy/dmcopy/copydomain/scsi"
	"github.com/dmcopy/dmcopy/remap"
)

// array is a SCSI target in memory, and how a snapshot describes its units.
type array struct {
	memory [][]byte
	loop   *scsi.Loopback
	node   []*remap.Node
	opened map[string]int // by unit and right to write
	closed int
}

const unitBytes = 1 << 20

func newArray(b scsi.Behaviour, block uint32, number int) *array {
	a := &array{opened: make(map[string]int)}
	for n := range number {
		m := make([]byte, unitBytes)
		for i := range m {
			m[i] = byte(i>>9) ^ byte(i) ^ byte(n*0x35)
		}
		a.memory = append(a.memory, m)
		a.node = append(a.node, &remap.Node{
			Dev: remap.Dev{Major: 8, Minor: uint32(16 * n)}, Name: fmt.Sprintf("sd%c", 'a'+n), Size: unitBytes / sector, BlockSize: int(block),
			Leaf: &remap.Leaf{Driver: "scsi", Zoned: "none", Identity: scsi.LoopbackIdentity(byte(n), scsi.Capacity{}).Designators[1].String()},
		})
	}
	a.loop = scsi.NewMemoryLoopback(b, block, a.memory...)
	return a
}

// with returns another description of a unit.
func (a *array) with(unit int, edit func(n *remap.Node)) *remap.Node {
	n, leaf := *a.node[unit], *a.node[unit].Leaf
	n.Leaf = &leaf
	edit(&n)
	return &n
}

// port counts how often a unit is let go.
type port struct {
	scsi.Transport
	a *array
}

func (p port) Close() error { p.a.closed++; return nil }

func (a *array) open(leaf *remap.Node, write bool) (scsi.Transport, error) {
	for i, n := range a.node {
		if n.Dev == leaf.Dev {
			a.opened[fmt.Sprint(leaf.Name, write)]++
			return port{a.loop.Unit(i), a}, nil
		}
	}
	return nil, fs.ErrNotExist
}

func (a *array) finder(t testing.TB) *copydomain.Finder {
	f := copydomain.NewFinderFor(copydomain.Openers{SCSI: a.open})
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	return f
}

func TestPairUnits(t *testing.T) {
	for _, block := range []uint32{512, 4096} {
		a := newArray(scsi.LIO(), block, 2)
		f := a.finder(t)
		for _, src := range a.node {
			for _, dst := range a.node {
				p := f.Pair(t.Context(), src, dst)
				if p.Method != copydomain.SCSIXCopy || p.Reason != "" || p.Block != int(block) || p.Domain != "scsi:naa.600140500000000a" || p.Limits == "" || p.Src != src || p.Dst != dst {
					t.Errorf("%+v", p)
				}
				if want := min(65535*int64(block), 64<<20); p.CommandBytes != want {
					t.Errorf("%d bytes a command, want %d", p.CommandBytes, want)
				}
			}
		}
	}
}

func TestNoPairOfUnits(t *testing.T) {
	duplicate := func(a *array) {
		a.loop.Change(1, func(u *scsi.LoopbackUnit) {
			u.Designators = scsi.LoopbackIdentity(0, scsi.Capacity{}).Designators
		})
	}
	off := scsi.LIO()
	off.ThirdPartyOff = true
	tests := []struct {
		name     string
		b        scsi.Behaviour
		edit     func(a *array)
		src, dst func(n *remap.Node)
		want     remap.Reason
	}{
		{"one name", scsi.LIO(), duplicate, nil, func(n *remap.Node) {
			n.Leaf.Identity = scsi.LoopbackIdentity(0, scsi.Capacity{}).Designators[1].String()
		}, copydomain.ReasonDuplicate},
		{"one serial", scsi.LIO(), func(a *array) {
			a.loop.Change(1, func(u *scsi.LoopbackUnit) { u.Serial = scsi.LoopbackIdentity(0, scsi.Capacity{}).Serial })
		}, nil, nil, "domain:not-distinct"},
		{"switched off", off, nil, nil, nil, "domain:no-copy-command"},
		{"renamed source", scsi.LIO(), nil, func(n *remap.Node) { n.Leaf.Identity = "naa.5000" }, nil, copydomain.ReasonIdentity},
		{"renamed destination", scsi.LIO(), nil, nil, func(n *remap.Node) { n.Leaf.Identity = "" }, copydomain.ReasonIdentity},
		{"another size", scsi.LIO(), nil, nil, func(n *remap.Node) { n.Size-- }, copydomain.ReasonIdentity},
		{"another block size", scsi.LIO(), nil, nil, func(n *remap.Node) { n.BlockSize = 4096 }, copydomain.ReasonIdentity},
		{"zoned", scsi.LIO(), nil, func(n *remap.Node) { n.Leaf.Zoned = "host-aware" }, nil, copydomain.ReasonZoned},
		{"gone", scsi.LIO(), nil, nil, func(n *remap.Node) { n.Dev.Minor = 160 }, copydomain.ReasonProbeFailed},
		{"a namespace", scsi.LIO(), nil, func(n *remap.Node) { n.Leaf.Driver, n.Leaf.NVMe = "nvme", &remap.NVMeLeaf{} }, nil, copydomain.ReasonDifferentDevices},
		{"no answer", scsi.LIO(), func(a *array) { a.loop.Change(1, func(u *scsi.LoopbackUnit) { u.Capacity.BlockSize = 3 }) }, nil, nil, copydomain.ReasonProbeFailed},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := newArray(tt.b, 512, 2)
			if tt.edit != nil {
				tt.edit(a)
			}
			same := func(*remap.Node) {}
			if tt.src == nil {
				tt.src = same
			}
			if tt.dst == nil {
				tt.dst = same
			}
			src, dst := a.with(0, tt.src), a.with(1, tt.dst)
			f := a.finder(t)
			p := f.Pair(t.Context(), src, dst)
			if p.Method != "" || p.Reason != tt.want || p.Detail == "" {
				t.Errorf("%+v", p)
			}
			if c, err := f.Copier(t.Context(), copydomain.Pair{Src: a.node[0], Dst: dst, Method: copydomain.SCSIXCopy}, copydomain.CopyOptions{}); err == nil && tt.src == nil {
				t.Errorf("a copier for a pair without a method: %v", c)
			}
		})
	}
	t.Run("nobody opens disks", func(t *testing.T) {
		a := newArray(scsi.LIO(), 512, 1)
		f := copydomain.NewFinderWith(func(*remap.Node) (nvme.Transport, error) { return nil, fs.ErrNotExist })
		if p := f.Pair(t.Context(), a.node[0], a.node[0]); p.Reason != copydomain.ReasonNoMethod {
			t.Errorf("%+v", p)
		}
	})
	t.Run("permission", func(t *testing.T) {
		a := newArray(scsi.LIO(), 512, 1)
		f := copydomain.NewFinderFor(copydomain.Openers{SCSI: func(*remap.Node, bool) (scsi.Transport, error) {
			return nil, &fs.PathError{Op: "open", Path: "/dev/sda", Err: unix.EACCES}
		}})
		if p := f.Pair(t.Context(), a.node[0], a.node[0]); p.Reason != copydomain.ReasonPermission {
			t.Errorf("%+v", p)
		}
	})
}

// TestAmbiguousName: a third unit with the name of an end. Nothing tells which one
// the target takes, but within the unit it is the one that gets the command.
func TestAmbiguousName(t *testing.T) {
	a := newArray(scsi.LIO(), 512, 3)
	a.loop.Change(2, func(u *scsi.LoopbackUnit) {
		u.Designators = scsi.LoopbackIdentity(0, scsi.Capacity{}).Designators
	})
	a.node[2].Leaf.Identity = a.node[0].Leaf.Identity
	f := a.finder(t)
	before := f.Pair(t.Context(), a.node[0], a.node[1])
	if before.Method == "" {
		t.Errorf("nobody has seen the third one: %+v", before)
	}
	if p := f.Pair(t.Context(), a.node[2], a.node[2]); p.Method == "" {
		t.Errorf("within: %+v", p)
	}
	for _, pair := range [][2]int{{0, 1}, {1, 0}, {2, 1}, {1, 2}, {0, 2}} {
		if p := f.Pair(t.Context(), a.node[pair[0]], a.node[pair[1]]); p.Reason != copydomain.ReasonDuplicate {
			t.Errorf("%v: %+v", pair, p)
		}
	}
	if _, err := f.Copier(t.Context(), before, copydomain.CopyOptions{}); err == nil {
		t.Error("a copier for a name that has become ambiguous")
	}
}

// TestNameOfAnotherDisk: a disk of the machine that is no part of the copy has the
// name of an end, or nobody knows.
func TestNameOfAnotherDisk(t *testing.T) {
	for name, tc := range map[string]struct {
		duplicates map[string]string
		err        error
		want       [3]remap.Reason // within the first, first to second, second to first
	}{
		"none":         {},
		"of the one":   {map[string]string{"sda": "sdx"}, nil, [3]remap.Reason{copydomain.ReasonDuplicate, copydomain.ReasonDuplicate, copydomain.ReasonDuplicate}},
		"of the other": {map[string]string{"sdb": "sdx"}, nil, [3]remap.Reason{"", copydomain.ReasonDuplicate, copydomain.ReasonDuplicate}},
		"unknown":      {nil, fs.ErrPermission, [3]remap.Reason{copydomain.ReasonProbeFailed, copydomain.ReasonProbeFailed, copydomain.ReasonProbeFailed}},
	} {
		a := newArray(scsi.LIO(), 512, 2)
		f := copydomain.NewFinderFor(copydomain.Openers{SCSI: a.open, SameIdentity: func(leaf *remap.Node) (scsi.SameIdentity, error) {
			if other := tc.duplicates[leaf.Name]; other != "" {
				return scsi.SameIdentity{Duplicates: []string{other}}, nil
			}
			return scsi.SameIdentity{}, tc.err
		}})
		for i, pair := range [][2]int{{0, 0}, {0, 1}, {1, 0}} {
			if p := f.Pair(t.Context(), a.node[pair[0]], a.node[pair[1]]); p.Reason != tc.want[i] || (p.Method == "") != (p.Reason != "") {
				t.Errorf("%s, %v: %+v", name, pair, p)
			}
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestOtherPath: a copy that has gone over one path of a multipath device goes on
// over another one, which has the same names.
func TestOtherPath(t *testing.T) {
	a := newArray(scsi.LIO(), 512, 3)
	a.loop.Change(2, func(u *scsi.LoopbackUnit) { u.Designators = scsi.LoopbackIdentity(1, scsi.Capacity{}).Designators })
	a.node[2].Leaf.Identity = a.node[1].Leaf.Identity
	other := map[string]string{"sdb": "sdc", "sdc": "sdb"}
	f := copydomain.NewFinderFor(copydomain.Openers{SCSI: a.open, SameIdentity: func(leaf *remap.Node) (scsi.SameIdentity, error) {
		return scsi.SameIdentity{Paths: []string{other[leaf.Name]}}, nil
	}})
	for _, pair := range [][2]int{{0, 1}, {0, 2}, {1, 0}, {2, 0}, {1, 1}, {2, 2}} {
		if p := f.Pair(t.Context(), a.node[pair[0]], a.node[pair[1]]); p.Method == "" {
			t.Errorf("%v: %+v", pair, p)
		}
	}
	if p := f.Pair(t.Context(), a.node[1], a.node[2]); p.Reason != copydomain.ReasonDuplicate {
		t.Errorf("from one path to the other: %+v", p)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
}

// TestUnitsAreOpenedForWritingLast: most disks cannot copy and need not be
// disturbed.
func TestUnitsAreOpenedForWritingLast(t *testing.T) {
	off := scsi.LIO()
	off.ThirdPartyOff = true
	for name, tc := range map[string]struct {
		b    scsi.Behaviour
		want string
	}{
		"able":   {scsi.LIO(), "map[sdafalse:1 sdatrue:1]"},
		"unable": {off, "map[sdafalse:1]"},
	} {
		a := newArray(tc.b, 512, 1)
		f := copydomain.NewFinderFor(copydomain.Openers{SCSI: a.open})
		for range 3 {
			f.Pair(t.Context(), a.node[0], a.node[0])
		}
		if err := f.Close(); err != nil || fmt.Sprint(a.opened) != tc.want || a.closed != len(a.opened) {
			t.Errorf("%s: %v, opened %v, closed %d", name, err, a.opened, a.closed)
		}
	}
}

func TestUnitProbeInterrupted(t *testing.T) {
	a := newArray(scsi.LIO(), 512, 1)
	f := a.finder(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if p := f.Pair(ctx, a.node[0], a.node[0]); p.Method != "" {
		t.Errorf("%+v", p)
	}
	if p := f.Pair(t.Context(), a.node[0], a.node[0]); p.Method == "" {
		t.Errorf("an interruption is remembered as a fact: %+v", p)
	}
}

func (a *array) copier(t testing.TB, src, dst int, allowed func(dst, n remap.Sector) error) copydomain.Copier {
	t.Helper()
	f := a.finder(t)
	if allowed == nil {
		allowed = func(_, _ remap.Sector) error { return nil }
	}
	c, err := f.Copier(t.Context(), f.Pair(t.Context(), a.node[src], a.node[dst]), copydomain.CopyOptions{InFlight: 2, Allowed: allowed})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestCopyUnits: sectors are sectors, whatever the blocks of the units.
func TestCopyUnits(t *testing.T) {
	for _, block := range []uint32{512, 4096} {
		for src := range 2 {
			a := newArray(scsi.LIO(), block, 2)
			want := [][]byte{bytes.Clone(a.memory[0]), bytes.Clone(a.memory[1])}
			moves := []copydomain.Move{{Src: 8, Dst: 1000, Len: 88}, {Src: 504, Dst: 1512, Len: 8}, {Src: 96, Dst: 1088, Len: 16}}
			for _, m := range moves {
				copy(want[1][m.Dst.Bytes():][:m.Len.Bytes()], want[src][m.Src.Bytes():])
			}
			var asked remap.Sector
			c := a.copier(t, src, 1, func(dst, n remap.Sector) error {
				if dst < 1000 || dst+n > 1520 {
					t.Errorf("asked about %d sectors at %d", n, dst)
				}
				asked += n
				return nil
			})
			r, err := c.Copy(t.Context(), moves)
			if err != nil || len(r.Redo)+len(r.Fenced) > 0 || asked != 112 || r.Commands != 2 {
				t.Errorf("%v, %+v, asked about %d sectors", err, r, asked)
			}
			if !bytes.Equal(a.memory[0], want[0]) || !bytes.Equal(a.memory[1], want[1]) {
				t.Error("wrong bytes")
			}
			if err := c.Flush(t.Context()); err != nil {
				t.Error(err)
			}
			log := a.loop.Log()
			if last := log[len(log)-1]; last.Command.Opcode() != scsi.OpSynchronizeCache16 || last.Unit != 1 {
				t.Errorf("%+v", last)
			}
		}
	}
}

// TestCopyUnitsRefuses: batches that must not be issued are not, not even in part.
func TestCopyUnitsRefuses(t *testing.T) {
	for name, moves := range map[string][]copydomain.Move{
		"misaligned source":      {{Src: 1, Dst: 1000, Len: 8}},
		"misaligned destination": {{Src: 8, Dst: 1001, Len: 8}},
		"misaligned length":      {{Src: 8, Dst: 1000, Len: 9}},
		"beyond the end":         {{Src: 8, Dst: 2040, Len: 16}},
		"negative":               {{Src: 8, Dst: -8, Len: 8}},
		"empty":                  {{Src: 8, Dst: 1000}},
		"twice":                  {{Src: 8, Dst: 1000, Len: 16}, {Src: 80, Dst: 1008, Len: 16}},
	} {
		a := newArray(scsi.LIO(), 4096, 2)
		before := bytes.Clone(a.memory[1])
		r, err := a.copier(t, 0, 1, nil).Copy(t.Context(), append([]copydomain.Move{{Src: 160, Dst: 1600, Len: 8}}, moves...))
		if err == nil || !bytes.Equal(a.memory[1], before) {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

// TestUnitsForbidden: a command that is not allowed is not issued, and neither is the rest.
func TestUnitsForbidden(t *testing.T) {
	a := newArray(scsi.LIO(), 512, 2)
	before := bytes.Clone(a.memory[1])
	forbidden := errors.New("forbidden")
	r, err := a.copier(t, 0, 1, func(_, _ remap.Sector) error { return forbidden }).Copy(t.Context(), []copydomain.Move{{Src: 0, Dst: 1000, Len: 400}})
	if err != nil || r.Commands != 0 || len(r.Redo) == 0 || !errors.Is(r.Redo[0].Err, forbidden) || !bytes.Equal(a.memory[1], before) {
		t.Errorf("%v, %+v", err, r)
	}
}

// TestUnitActions: what each kind of failure means for what comes next. Every
// sector is accounted for.
func TestUnitActions(t *testing.T) {
	sense := func(key scsi.SenseKey, asc, ascq uint8) scsi.Fault {
		return scsi.Fault{Completion: scsi.SenseCompletion(scsi.SenseCode{Key: key, ASC: asc, ASCQ: ascq})}
	}
	for name, tt := range map[string]struct {
		fault scsi.Fault
		want  copydomain.Action
	}{
		"medium":          {sense(scsi.MediumError, 0x11, 0), copydomain.ActionEmulate},
		"not ready":       {sense(scsi.NotReady, 4, 1), copydomain.ActionEmulate},
		"path":            {sense(scsi.NotReady, 4, 0xC), copydomain.ActionEmulate},
		"opcode":          {sense(scsi.IllegalRequest, 0x20, 0), copydomain.ActionNotSupported},
		"never reached":   {sense(scsi.CopyAborted, 0x0D, 2), copydomain.ActionNotSupported},
		"limits, always":  {sense(scsi.IllegalRequest, 0x26, 0), copydomain.ActionNotSupported},
		"out of range":    {sense(scsi.IllegalRequest, 0x21, 0), copydomain.ActionReresolve},
		"changed":         {sense(scsi.UnitAttention, 0x2A, 9), copydomain.ActionReresolve},
		"reservation":     {scsi.Fault{Completion: scsi.Completion{Status: scsi.ReservationConflict}}, copydomain.ActionSurface},
		"write protected": {sense(scsi.DataProtect, 0x27, 0), copydomain.ActionSurface},
	} {
		t.Run(name, func(t *testing.T) {
			a := newArray(scsi.LIO(), 512, 2)
			a.loop.SetFault(func(int, *scsi.Command) scsi.Fault { return tt.fault })
			r, err := a.copier(t, 0, 1, nil).Copy(t.Context(), []copydomain.Move{{Src: 0, Dst: 1000, Len: 100}})
			if err != nil || len(r.Fenced) > 0 {
				t.Fatalf("%v, %+v", err, r)
			}
			var sectors remap.Sector
			for _, redo := range r.Redo {
				sectors += redo.Len
				if redo.Action != tt.want || redo.Reason == "" || !errors.Is(redo.Err, tt.fault.Completion.Err()) || redo.Dst-redo.Src != 1000 {
					t.Errorf("%+v", redo)
				}
			}
			if sectors != 100 {
				t.Errorf("%d of 100 sectors are accounted for", sectors)
			}
		})
	}
	t.Run("canceled", func(t *testing.T) {
		a := newArray(scsi.LIO(), 512, 2)
		c := a.copier(t, 0, 1, nil)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		r, err := c.Copy(ctx, []copydomain.Move{{Src: 0, Dst: 1000, Len: 64}})
		if err != nil || r.Commands != 0 || len(r.Redo) != 1 || r.Redo[0].Action != copydomain.ActionCanceled {
			t.Errorf("%v, %+v", err, r)
		}
	})
}

// TestUnitFenceIsShared: whoever copies to a unit in this process, from wherever,
// minds the fences of the others.
func TestUnitFenceIsShared(t *testing.T) {
	a := newArray(scsi.LIO(), 512, 2)
	a.loop.SetFault(func(n int, _ *scsi.Command) scsi.Fault {
		if n == 0 {
			return scsi.Fault{Lost: unix.EINTR}
		}
		return scsi.Fault{}
	})
	f := a.finder(t)
	for i, tt := range []struct {
		src  int
		dst  remap.Sector
		want error
	}{{0, 1000, nil}, {0, 1032, blocks.ErrFenced}, {1, 1032, blocks.ErrFenced}, {1, 1100, nil}} {
		c, err := f.Copier(t.Context(), f.Pair(t.Context(), a.node[tt.src], a.node[1]), copydomain.CopyOptions{Allowed: func(_, _ remap.Sector) error { return nil }})
		if err != nil {
			t.Fatal(err)
		}
		r, err := c.Copy(t.Context(), []copydomain.Move{{Src: 0, Dst: tt.dst, Len: 64}})
		if !errors.Is(err, tt.want) {
			t.Errorf("copier %d: %v", i, err)
		}
		if i == 0 && (len(r.Fenced) != 1 || r.Fenced[0].Dst != 1000 || r.Fenced[0].Len != 64 || r.Fenced[0].Action != copydomain.ActionSurface) {
			t.Errorf("%+v", r)
		}
	}
}

func TestUnitFlushFails(t *testing.T) {
	a := newArray(scsi.LIO(), 512, 1)
	c := a.copier(t, 0, 0, nil)
	a.loop.Change(0, func(u *scsi.LoopbackUnit) {
		u.Attention = []scsi.SenseCode{{Key: scsi.MediumError, ASC: 0x0C, ASCQ: 2}}
	})
	if err := c.Flush(t.Context()); !errors.Is(err, scsi.SenseCompletion(scsi.SenseCode{Key: scsi.MediumError, ASC: 0x0C, ASCQ: 2}).Err()) {
		t.Error(err)
	}
}
