package dispatch_test

import (
	"errors"
	"testing"

	"pgregory.net/rapid"

	"github.com/dmcopy/dmcopy/dispatch"
	"github.com/dmcopy/dmcopy/internal/dispatch/byterange"
	"github.com/dmcopy/dmcopy/internal/dispatch/failure"
	"github.com/dmcopy/dmcopy/internal/dispatch/plan"
	"github.com/dmcopy/dmcopy/remap"
	"github.com/dmcopy/dmcopy/test/fakestack"
)

// thinned is a source and a thin volume without blocks, on one namespace. The
// destination begins within a block of the volume.
func thinned(t rapid.TB, block, shift, size remap.Sector) (m *fakestack.Machine, src, dst remap.Dev) {
	m = fakestack.New(1)
	ns := m.AddNamespace(fakestack.Namespace{Sectors: 8 * size, Limits: fakestack.Roomy})
	src = m.AddMapped(fakestack.Segment{Len: size, Target: fakestack.Linear{Dev: ns}})
	pool := m.AddMapped(fakestack.Segment{Len: 4 * size, Target: fakestack.Linear{Dev: ns, Start: 2 * size}})
	volume := m.AddMapped(fakestack.Segment{Len: size + shift, Target: &fakestack.Thin{
		Pool: fakestack.Place{Dev: pool}, Block: block, Blocks: 4 * size / block,
	}})
	dst = m.AddMapped(fakestack.Segment{Len: size, Target: fakestack.Linear{Dev: volume, Start: shift}})
	return m, src, dst
}

// TestPrime: a volume without blocks is copied to by the device once it has
// some, and through the host if it is not primed.
func TestPrime(t *testing.T) {
	const block, size = 128, 2048
	for _, c := range []struct {
		opts      dispatch.Options
		shift     remap.Sector
		offloaded int64
		primed    int64 // blocks
	}{
		{dispatch.Options{}, 0, 0, 0},
		{dispatch.Options{Prime: true}, 0, size * sector, size / block},
		{dispatch.Options{Prime: true, Offload: plan.OffloadRequire}, 0, size * sector, size / block},
		{dispatch.Options{Prime: true}, 24, size * sector, size/block + 1},
		{dispatch.Options{Prime: true, Offload: plan.OffloadNever}, 0, 0, 0},
	} {
		m, src, dst := thinned(t, block, c.shift, size)
		rep := mustCopy(t, m, src, dst, c.opts)
		if rep.Offloaded != c.offloaded || (rep.Primed > 0) != (c.primed > 0) || rep.Primed < c.primed*4096 {
			t.Errorf("%+v at %d: %+v", c.opts, c.shift, rep)
		}
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestPrimeNothing: without thin volumes nothing is written ahead of time, and a
// policy that cannot be met is refused before anything is.
func TestPrimeNothing(t *testing.T) {
	m, src, dst := thinned(t, 128, 0, 2048)
	_, err := copyOf(t, m, src, dst, dispatch.Options{Offload: plan.OffloadRequire})
	if !errors.Is(err, failure.ErrPolicy) {
		t.Errorf("not primed: %v, want ErrPolicy", err)
	}
	rep := mustCopy(t, m, dst, src, dispatch.Options{Prime: true})
	if rep.Primed != 0 {
		t.Errorf("a destination with places was primed: %+v", rep)
	}
	if err := m.Close(); err != nil {
		t.Error(err)
	}
}

// TestPrimeRandom: ranges and windows of any kind, some blocks there already.
func TestPrimeRandom(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const size = 2048
		block := remap.Sector(8 << rapid.IntRange(0, 5).Draw(t, "block"))
		shift := 8 * remap.Sector(rapid.IntRange(0, 20).Draw(t, "shift"))
		m, src, dst := thinned(t, block, shift, size)
		if rapid.Bool().Draw(t, "written") {
			start := 8 * remap.Sector(rapid.IntRange(0, size/8-8).Draw(t, "start"))
			m.Scribble(dst, start, make([]byte, 8*8*sector))
			if err := m.Renew(); err != nil {
				t.Fatal(err)
			}
		}
		start := 8 * rapid.Int64Range(0, size/8-1).Draw(t, "first")
		n := 8 * rapid.Int64Range(1, size/8-start/8).Draw(t, "sectors")
		rep := mustCopy(t, m, src, dst, dispatch.Options{Prime: true, Window: 64 * kib}, byterange.Range{Src: start * sector, Dst: start * sector, Len: n * sector})
		if rep.Offloaded != rep.Total {
			t.Fatalf("%+v", rep)
		}
		if err := m.Close(); err != nil {
			t.Fatal(err)
		}
	})
}
