package scsi

import (
	"bytes"
	"errors"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/copydomain/blocks"
)

func wire(t testing.TB, l List) *Command {
	t.Helper()
	buf := make([]byte, l.Size())
	n, err := l.Encode(buf)
	if err != nil {
		t.Fatal(err)
	}
	var cdb [16]byte
	extendedCopy(&cdb, l.Form, n)
	return &Command{CDB: cdb[:], Data: buf[:n]}
}

func unitOf(l *Loopback, i int) Unit {
	name, _ := choose(l.units[i].Designators)
	return Unit{name, l.units[i].Capacity.BlockSize}
}

func block(mem []byte, lba uint64) []byte { return mem[lba*testBlock : (lba+1)*testBlock] }

// The quirks of each target, in the order in which it looks for them.
func TestLoopbackQuirks(t *testing.T) {
	naa5 := Designator{codeBinary, LogicalUnit, TypeNAA, []byte{0x50, 1, 2, 3, 4, 5, 6, 7}}
	lies := LIO()
	lies.EnforcedSegmentBlocks = 4
	granular := SCST()
	granular.Granular = true
	off := LIO()
	off.ThirdPartyOff = true
	for name, tc := range map[string]struct {
		b    Behaviour
		to   int // the unit that gets the command
		edit func(*Loopback, *List)
		want SenseCode
		fine bool
	}{
		"LIO pulls":                    {LIO(), 1, nil, SenseCode{}, true},
		"LIO pushes":                   {LIO(), 0, nil, SenseCode{}, true},
		"LIO, not concerned":           {LIO(), 2, nil, SenseCode{5, 0x26, 0}, false},
		"LIO, off":                     {off, 1, nil, SenseCode{5, 0x20, 0}, false},
		"LIO, long form":               {LIO(), 1, func(_ *Loopback, l *List) { l.Form = LID4 }, SenseCode{5, 0x20, 0}, false},
		"LIO, two segments":            {LIO(), 1, func(_ *Loopback, l *List) { l.Segments = append(l.Segments, l.Segments...) }, SenseCode{5, 0x26, 8}, false},
		"LIO, list identifier":         {LIO(), 1, func(_ *Loopback, l *List) { l.ListID = 5 }, SenseCode{}, true},
		"LIO, wrong block length":      {LIO(), 1, func(_ *Loopback, l *List) { l.Units[0].BlockSize = 4096 }, SenseCode{}, true},
		"LIO, short name":              {LIO(), 1, func(_ *Loopback, l *List) { l.Units[0].Designator = naa5 }, SenseCode{5, 0x26, 0}, false},
		"LIO, unknown name":            {LIO(), 1, func(_ *Loopback, l *List) { l.Units[0].Designator = nameB }, SenseCode{0xA, 0x0D, 2}, false},
		"LIO, block sizes":             {LIO(), 1, func(o *Loopback, _ *List) { o.units[0].Capacity.BlockSize = 4096 }, SenseCode{2, 8, 0}, false},
		"LIO, past the end":            {LIO(), 1, func(_ *Loopback, l *List) { l.Segments[0].SrcLBA = 60 }, SenseCode{0xA, 0x0D, 2}, false},
		"lower limit than told":        {lies, 1, nil, SenseCode{5, 0x26, 0}, false},
		"tcmu-runner, two units":       {TCMURunner(), 1, nil, SenseCode{0xA, 0x0D, 2}, false},
		"tcmu-runner, list identifier": {TCMURunner(), 0, func(_ *Loopback, l *List) { l.ListID, l.Units, l.Segments[0].Dst = 5, l.Units[:1], 0 }, SenseCode{5, 0x26, 0}, false},
		"tcmu-runner within":           {TCMURunner(), 0, func(_ *Loopback, l *List) { l.Units, l.Segments[0].Dst = l.Units[:1], 0 }, SenseCode{}, true},
		"SCST, wrong block length":     {SCST(), 1, func(_ *Loopback, l *List) { l.Units[0].BlockSize = 4096 }, SenseCode{5, 0x26, 0}, false},
		"SCST, other names":            {SCST(), 1, func(o *Loopback, l *List) { o.units[0].Designators[0] = naa5; l.Units[0].Designator = naa5 }, SenseCode{}, true},
		"granularity":                  {granular, 1, nil, SenseCode{5, 0x26, 0x0D}, false},
		"CTL, long form":               {CTL(), 1, func(_ *Loopback, l *List) { l.Form = LID4 }, SenseCode{}, true},
	} {
		l := newLoop(tc.b, 3)
		mem := l.units[1].Backing.(blocks.Memory)
		list := List{LID1, 0, []Unit{unitOf(l, 0), unitOf(l, 1)}, []Segment{{0, 1, piece(10, 20, 8)}}}
		if tc.edit != nil {
			tc.edit(l, &list)
		}
		if list.Segments[0].Dst == 0 {
			mem = l.units[0].Backing.(blocks.Memory)
		}
		source := bytes.Clone(l.units[0].Backing.(blocks.Memory))
		c, err := l.Unit(tc.to).Do(t.Context(), wire(t, list))
		if err != nil {
			t.Fatal(err)
		}
		if tc.fine {
			if c.Err() != nil || !bytes.Equal(block(mem, 27), block(source, 17)) {
				t.Errorf("%s: %v", name, c.Err())
			}
			continue
		}
		if a, _, _ := c.answer(); a.Sense != tc.want {
			t.Errorf("%s: %v, want %v", name, c.Err(), tc.want)
		}
	}
}

// Two units of one name: LIO takes both names for the unit that got the command,
// copies within it and reports success.
func TestLoopbackDuplicateNames(t *testing.T) {
	l := newLoop(LIO(), 2)
	l.Change(1, func(u *LoopbackUnit) { u.Designators = l.units[0].Designators })
	a, b := []byte(l.units[0].Backing.(blocks.Memory)), []byte(l.units[1].Backing.(blocks.Memory))
	before := bytes.Clone(b)
	list := List{LID1, 0, []Unit{unitOf(l, 0), unitOf(l, 1)}, []Segment{{0, 1, piece(10, 20, 1)}}}
	if c, err := l.Unit(1).Do(t.Context(), wire(t, list)); err != nil || c.Err() != nil {
		t.Fatal(c, err)
	}
	if bytes.Equal(block(b, 20), block(a, 10)) || !bytes.Equal(block(b, 20), block(before, 10)) {
		t.Error("the copy went elsewhere")
	}
}

// Overlapping ranges spread, chunk by chunk.
func TestLoopbackAscends(t *testing.T) {
	b := LIO()
	b.ChunkBytes = testBlock
	l := newLoop(b, 1)
	mem := []byte(l.units[0].Backing.(blocks.Memory))
	first := bytes.Clone(block(mem, 10))
	list := List{LID1, 0, []Unit{unitOf(l, 0)}, []Segment{{0, 0, piece(10, 11, 5)}}}
	if c, err := l.Unit(0).Do(t.Context(), wire(t, list)); err != nil || c.Err() != nil {
		t.Fatal(c, err)
	}
	for lba := uint64(10); lba < 16; lba++ {
		if !bytes.Equal(block(mem, lba), first) {
			t.Errorf("block %d", lba)
		}
	}
}

func TestLoopbackFaults(t *testing.T) {
	medium := SenseCompletion(SenseCode{MediumError, 0x11, 0})
	for name, tc := range map[string]struct {
		fault Fault
		good  bool
		err   error
		state string // of each block: c copied, j junk, x another block of the source, - as before
	}{
		"none":                  {Fault{}, true, nil, "cccc"},
		"silent":                {Fault{Silent: true}, true, nil, "----"},
		"short":                 {Fault{Short: true, At: 3}, true, nil, "ccc-"},
		"swap":                  {Fault{Swap: true}, true, nil, "xxxx"},
		"at 0":                  {Fault{Completion: medium}, false, nil, "----"},
		"at 1 with junk":        {Fault{Completion: medium, At: 1, Junk: true}, false, nil, "cj--"},
		"at the end":            {Fault{Completion: medium, At: 4, Junk: true}, false, nil, "cccc"},
		"the host says":         {Fault{Completion: Completion{Host: 3}, At: 2}, false, nil, "cc--"},
		"lost completion":       {Fault{Lost: unix.EINTR}, true, unix.EINTR, "cccc"},
		"lost, half done":       {Fault{Lost: unix.EIO, Short: true, At: 1}, true, unix.EIO, "c---"},
		"lost before the issue": {Fault{Lost: blocks.ErrNotIssued}, true, blocks.ErrNotIssued, "----"},
	} {
		l := newLoop(LIO(), 2)
		src, dst := []byte(l.units[0].Backing.(blocks.Memory)), []byte(l.units[1].Backing.(blocks.Memory))
		before := bytes.Clone(dst)
		l.SetFault(func(int, *Command) Fault { return tc.fault })
		list := List{LID1, 0, []Unit{unitOf(l, 0), unitOf(l, 1)}, []Segment{{0, 1, piece(10, 40, 4)}}}
		c, err := l.Unit(1).Do(t.Context(), wire(t, list))
		if !errors.Is(err, tc.err) || (c.Err() == nil) != tc.good {
			t.Errorf("%s: %+v, %v", name, c, err)
		}
		var state string
		for i := range uint64(4) {
			switch got := block(dst, 40+i); {
			case bytes.Equal(got, block(src, 10+i)):
				state += "c"
			case bytes.Equal(got, block(before, 40+i)):
				state += "-"
			case got[100] == ^block(src, 10+i)[100]:
				state += "j"
			case bytes.Equal(got, block(src, 10+i^1)):
				state += "x"
			}
		}
		if state != tc.state {
			t.Errorf("%s: %s, want %s", name, state, tc.state)
		}
		entry := l.Log()[0]
		if !errors.Is(entry.Err, tc.err) || entry.Unit != 1 || len(entry.Command.Data) == 0 {
			t.Errorf("%s: logged %+v", name, entry)
		}
	}
}

// Nothing that the ioctl would refuse reaches the target.
func TestLoopbackRefuses(t *testing.T) {
	l := newLoop(LIO(), 1)
	read := &Command{CDB: append([]byte{0x88}, make([]byte, 15)...), Data: make([]byte, 512)}
	if _, err := l.Unit(0).Do(t.Context(), read); !errors.Is(err, blocks.ErrNotAllowed) || !errors.Is(err, blocks.ErrNotIssued) || len(l.Log()) != 0 {
		t.Error(err)
	}
}

func TestMemory(t *testing.T) {
	m := blocks.Memory(make([]byte, 10))
	if _, err := m.WriteAt(make([]byte, 2), 9); !errors.Is(err, blocks.ErrOutOfRange) {
		t.Error(err)
	}
	if _, err := m.ReadAt(make([]byte, 2), 11); !errors.Is(err, blocks.ErrOutOfRange) {
		t.Error(err)
	}
	if n, err := m.ReadAt(make([]byte, 2), 9); n != 1 || err == nil {
		t.Error(n, err)
	}
}
