package dispatch_test

import (
	"errors"
	"testing"

	"github.com/dmcopy/dmcopy/copydomain"
	"github.com/dmcopy/dmcopy/dispatch"
	"github.com/dmcopy/dmcopy/internal/dispatch/byterange"
	"github.com/dmcopy/dmcopy/internal/dispatch/failure"
	"github.com/dmcopy/dmcopy/internal/dispatch/plan"
	"github.com/dmcopy/dmcopy/remap"
	"github.com/dmcopy/dmcopy/test/fakestack"
)

// TestDuplicateIdentity: disks that were given one name are copied by the host, wherever the
// ranges lie, and never by a command. A second copy, after which one of them looks
// like the other, is refused.
func TestDuplicateIdentity(t *testing.T) {
	const n = remap.Sector(1 << 12)
	half := n.Bytes() / 2
	kinds := map[remap.Reason]func(m *fakestack.Machine) remap.Dev{
		copydomain.ReasonNoMethod: func(m *fakestack.Machine) remap.Dev { return m.AddDisk(n, 512) },
		copydomain.ReasonDuplicate: func(m *fakestack.Machine) remap.Dev {
			return m.AddNamespace(fakestack.Namespace{Sectors: n, Limits: fakestack.Roomy})
		},
	}
	for why, add := range kinds {
		for name, r := range map[string]byterange.Range{
			"the same place": {Len: 2 * half},
			"another place":  {Src: 0, Dst: half, Len: half},
			"overlapping":    {Src: 0, Dst: sector, Len: half},
		} {
			t.Run(string(why)+" "+name, func(t *testing.T) {
				m := fakestack.New(8)
				src := add(m)
				dst := add(m)
				m.Call(dst, src)
				want := m.Expect(src, dst, r)
				rep := mustCopy(t, m, src, dst, dispatch.Options{}, r)
				copied(t, want)
				if rep.Host != rep.Total || reason(rep, why) != rep.Total || m.Calls("command") > 0 {
					t.Errorf("%d commands, %+v", m.Calls("command"), rep)
				}
				if name != "the same place" {
					return
				}
				writes := m.Calls("write")
				if rep, err := copyOf(t, m, src, dst, dispatch.Options{}, r); !errors.Is(err, failure.ErrRefused) || rep != nil || m.Calls("write") > writes {
					t.Errorf("again: %v, %+v", err, rep)
				}
			})
		}
	}
}

// TestDuplicatesThatDifferLate: a single place decides, and only what overlaps is looked
// at.
func TestDuplicatesThatDifferLate(t *testing.T) {
	const n = remap.Sector(1 << 12)
	m := fakestack.New(9)
	src, dst := m.AddDisk(n, 512), m.AddDisk(n, 512)
	m.Call(dst, src)
	m.Fill(dst, 0, m.Content(src, 0, n))
	r := byterange.Range{Src: 0, Dst: n.Bytes() / 2, Len: n.Bytes() / 4}
	reads := m.Calls("read")
	want := m.Expect(src, dst, r)
	mustCopy(t, m, src, dst, dispatch.Options{}, r)
	copied(t, want)
	if m.Calls("read")-reads > 8 {
		t.Errorf("%d reads to copy without overlap", m.Calls("read")-reads)
	}
	m.Fill(dst, 0, m.Content(src, 0, n))
	r.Dst = sector
	if rep, err := copyOf(t, m, src, dst, dispatch.Options{}, r); !errors.Is(err, failure.ErrRefused) || rep != nil {
		t.Errorf("equal disks: %v, %+v", err, rep)
	}
	m.Fill(dst, n-1, make([]byte, sector))
	want = m.Expect(src, dst, r)
	mustCopy(t, m, src, dst, dispatch.Options{}, r)
	copied(t, want)
}

// TestPathsToOneDisk: what overlaps on one disk is refused, by whatever paths, and
// whoever writes to it meanwhile.
func TestPathsToOneDisk(t *testing.T) {
	const n = remap.Sector(1 << 12)
	for _, busy := range []bool{false, true} {
		for name, r := range map[string]byterange.Range{
			"the same place": {Len: n.Bytes()},
			"overlapping":    {Src: 0, Dst: sector, Len: n.Bytes() / 2},
		} {
			for _, policy := range []plan.Policy{plan.OffloadAuto, plan.OffloadNever} {
				m := fakestack.New(10)
				src := m.AddDisk(n, 512)
				dst := m.AddPath(src)
				count := byte(0)
				m.Hooks.IO = func(op string, dev remap.Dev, off, _ int64) {
					if op == "read" && busy {
						count++
						p := make([]byte, sector)
						p[7] = count
						m.Fill(dev, remap.Sector(off/sector), p)
					}
				}
				if rep, err := copyOf(t, m, src, dst, dispatch.Options{Offload: policy}, r); !errors.Is(err, failure.ErrRefused) || rep != nil || m.Calls("write") > 0 {
					t.Errorf("%s, busy %v: %v, %+v", name, busy, err, rep)
				}
			}
		}
	}
	m := fakestack.New(11)
	src := m.AddDisk(n, 512)
	dst := m.AddPath(src)
	r := byterange.Range{Src: 0, Dst: n.Bytes() / 2, Len: n.Bytes() / 2}
	want := m.Expect(src, dst, r)
	mustCopy(t, m, src, dst, dispatch.Options{}, r)
	copied(t, want)
}

// TestDuplicateOfThree: two that are seen to be different say nothing of the third.
func TestDuplicateOfThree(t *testing.T) {
	const n = remap.Sector(1 << 10)
	m := fakestack.New(12)
	a, b := m.AddDisk(n, 512), m.AddDisk(n, 512)
	m.Call(b, a)
	c := m.AddPath(b)
	table := func(first remap.Dev) remap.Dev {
		return m.AddMapped(
			fakestack.Segment{Len: 64, Target: fakestack.Linear{Dev: first, Start: 0}},
			fakestack.Segment{Len: 64, Target: fakestack.Linear{Dev: b, Start: 256}},
		)
	}
	if rep, err := copyOf(t, m, table(a), table(c), dispatch.Options{}, byterange.Range{Dst: sector, Len: 64 * sector}); !errors.Is(err, failure.ErrRefused) || rep != nil {
		t.Errorf("%v, %+v", err, rep)
	}
}

// TestDuplicateThatCannotBeRead proves nothing.
func TestDuplicateThatCannotBeRead(t *testing.T) {
	const n = remap.Sector(1 << 12)
	m := fakestack.New(13)
	src, dst := m.AddDisk(n, 512), m.AddDisk(n, 512)
	m.Call(dst, src)
	m.FailReads(dst, 3, errors.New("bad sector"))
	if rep, err := copyOf(t, m, src, dst, dispatch.Options{}); !errors.Is(err, failure.ErrRefused) || rep != nil || m.Calls("write") > 0 {
		t.Errorf("%v, %+v", err, rep)
	}
}
