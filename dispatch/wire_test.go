package dispatch_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/dmcopy/dmcopy/copydomain"
	"github.com/dmcopy/dmcopy/copydomain/scsi"
	"github.com/dmcopy/dmcopy/dispatch"
	"github.com/dmcopy/dmcopy/internal/dispatch/byterange"
	"github.com/dmcopy/dmcopy/remap"
	"github.com/dmcopy/dmcopy/test/fakestack"
	"github.com/dmcopy/dmcopy/test/target"
)

// The fake machine looks at every command on its way to a disk, and takes it apart by
// itself (test/fakestack/witness.go). These tests are about what it sees.

// kinds make two volumes between which commands of that name copy.
var kinds = map[string]func(t *testing.T) (m *fakestack.Machine, src, dst remap.Dev){
	"Copy format 0": func(t *testing.T) (*fakestack.Machine, remap.Dev, remap.Dev) {
		v := newVolumes(t)
		return v.Machine, v.src, v.dst
	},
	"Copy format 2": func(t *testing.T) (*fakestack.Machine, remap.Dev, remap.Dev) {
		v := newCrossNamespace(t, copydomain.CrossEnable)
		return v.Machine, v.src, v.dst
	},
	"EXTENDED COPY(LID1)": func(*testing.T) (*fakestack.Machine, remap.Dev, remap.Dev) {
		u := newUnits(scsi.LIO(), 4096, false)
		return u.Machine, u.src, u.dst
	},
	"EXTENDED COPY(LID4)": func(*testing.T) (*fakestack.Machine, remap.Dev, remap.Dev) {
		b := scsi.CTL()
		b.Short = false
		u := newUnits(b, 512, false)
		return u.Machine, u.src, u.dst
	},
	"WRITE USING TOKEN": func(*testing.T) (*fakestack.Machine, remap.Dev, remap.Dev) {
		m := fakestack.New(3)
		_, disks := m.AddTokenTarget(*target.DefaultTokenLimits(), 512, 3*volume, 3*volume)
		at := func(dev remap.Dev, start remap.Sector) remap.Dev {
			return m.AddMapped(fakestack.Segment{Len: volume, Target: fakestack.Linear{Dev: dev, Start: start}})
		}
		return m, at(disks[0], 8), at(disks[1], 64)
	},
}

// TestEveryKindIsWitnessed: all of each copy is done by commands of its kind, which
// write nothing but the destination.
func TestEveryKindIsWitnessed(t *testing.T) {
	for name, kind := range kinds {
		m, src, dst := kind(t)
		rep := mustCopy(t, m, src, dst, dispatch.Options{Window: 512 * kib}, byterange.Range{Src: 64 * kib, Dst: 128 * kib, Len: mib})
		if n := m.Witnessed(name); rep.Offloaded != mib || n == 0 || int64(n) > rep.Commands {
			t.Errorf("%d commands %s: %+v", n, name, rep)
		}
	}
}

// TestWitnessComplains: the same commands, for a copy of which nobody knows.
func TestWitnessComplains(t *testing.T) {
	for name, kind := range kinds {
		m, src, dst := kind(t)
		want := m.Expect(src, dst, byterange.Range{Dst: 64 * kib, Len: sector})
		if _, err := copyOf(t, m, src, dst, dispatch.Options{}, byterange.Range{Dst: 128 * kib, Len: mib}); err != nil {
			t.Fatal(err)
		}
		if err := want.Untouched(); err == nil || !strings.Contains(err.Error(), name+" of ") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// stray is a machine whose commands at first miss what they shall write.
type stray struct {
	*fakestack.Machine
	t          *testing.T
	kind       string
	start, end remap.Sector // of the destination, on its disk
	tried      int
}

type strayCopier struct {
	copydomain.Copier
	s *stray
}

func (s *stray) Copier(ctx context.Context, pair copydomain.Pair, opt copydomain.CopyOptions) (copydomain.Copier, error) {
	c, err := s.Machine.Copier(ctx, pair, opt)
	return &strayCopier{c, s}, err
}

// Copy tries beside the destination before it does what it shall.
func (c *strayCopier) Copy(ctx context.Context, moves []copydomain.Move) (copydomain.Result, error) {
	from := moves[0].Src
	for what, astray := range map[string]copydomain.Move{
		"from before on": {Src: from, Dst: c.s.start - 8, Len: 16},
		"to behind":      {Src: from, Dst: c.s.end - 8, Len: 16},
		"before":         {Src: from, Dst: c.s.start - 8, Len: 8},
		"behind":         {Src: from, Dst: c.s.end, Len: 8},
		"far away":       {Src: from, Dst: 0, Len: 8},
	} {
		before := c.s.Witnessed(c.s.kind)
		r, err := c.Copier.Copy(ctx, []copydomain.Move{astray})
		if err != nil || len(r.Redo) != 1 || r.Redo[0].Move != astray || c.s.Witnessed(c.s.kind) != before {
			c.s.t.Errorf("%s, %s: %v, %+v", c.s.kind, what, err, r)
		}
		c.s.tried++
	}
	return c.Copier.Copy(ctx, moves)
}

// TestNoKindStrays: whatever copies, the last check refuses a command that
// would write beside the plan.
func TestNoKindStrays(t *testing.T) {
	for name, kind := range kinds {
		m, src, dst := kind(t)
		r := byterange.Range{Src: 64 * kib, Dst: 128 * kib, Len: 256 * kib}
		want := m.Expect(src, dst, r)
		at, _ := m.Direct(dst, remap.Sector(r.Dst/sector), true)
		s := &stray{Machine: m, t: t, kind: name, start: at.Start, end: at.Start + remap.Sector(r.Len/sector)}
		job := dispatch.Job{Src: m.Endpoint(src), Dst: m.Endpoint(dst), Ranges: []byterange.Range{r}}
		rep, err := dispatch.New(s).Copy(t.Context(), job, dispatch.Options{})
		if err != nil || rep.Offloaded != rep.Total || s.tried == 0 {
			t.Errorf("%s: %v, %+v", name, err, rep)
		}
		if err := want.Copied(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// shelf makes a random machine of logical units instead of namespaces.
func (b *builder) shelf() {
	b.m = fakestack.New(uint64(b.draw("seed", 0, 1<<20)))
	block := rapid.SampledFrom([]int{512, 4096}).Draw(b.t, "block")
	b.unit = remap.Sector(block / sector)
	const size = 1 << 12
	sizes := make([]remap.Sector, b.draw("units", 1, 3))
	for i := range sizes {
		sizes[i] = size
	}
	var disks []remap.Dev
	if rapid.Bool().Draw(b.t, "tokens") {
		_, disks = b.m.AddTokenTarget(target.TokenLimits{
			Ranges: uint16(b.draw("ranges", 0, 8)), TransferBlocks: uint64(b.draw("transfer", 0, 300)), DefaultTimeout: 60, MaxTimeout: 600,
		}, block, sizes...)
	} else {
		manners := rapid.SampledFrom([]scsi.Behaviour{scsi.LIO(), scsi.SCST(), scsi.CTL(), small()}).Draw(b.t, "manners")
		_, disks = b.m.AddTarget(manners, block, sizes...)
	}
	for _, dev := range append(disks, b.m.AddDisk(size, block)) {
		b.disks = append(b.disks, disk{dev: dev, size: size})
	}
}

// TestRandomUnits: as TestOffloadEqualsHost has it for namespaces, the stacks are
// random, and so is what copies. The witness looks at each command.
func TestRandomUnits(t *testing.T) {
	seen := make(map[string]int)
	rapid.Check(t, func(t *rapid.T) {
		b := &builder{t: t}
		b.shelf()
		size := remap.Sector(b.draw("size", 1, 100)) * b.unit
		src, dst := b.volume(size, 2, false), b.volume(size, 2, true)
		ranges := b.ranges(size)
		if ranges == nil {
			ranges = []byterange.Range{{Len: size.Bytes()}}
		}
		opts := dispatch.Options{Window: int64(b.draw("window", 1, 1024)) * 4096, InFlight: b.draw("in flight", 1, 4)}
		rep := mustCopy(t, b.m, src, dst, opts, ranges...)
		for method, bytes := range rep.ByMethod {
			seen[fmt.Sprint(method)] += int(bytes)
		}
	})
	t.Log(seen)
}
