package layout_test

import (
	"testing"

	"github.com/dmcopy/dmcopy/dmtable"
	"github.com/dmcopy/dmcopy/dmtable/dmtest"
	"github.com/dmcopy/dmcopy/internal/layout"
	"github.com/dmcopy/dmcopy/internal/sysblock/sysblocktest"
	"github.com/dmcopy/dmcopy/remap"
)

// tables reads the tables of all devices of a rig.
func (r *rig) tables(t *testing.T) *remap.Stack {
	t.Helper()
	devs, err := r.FS().Devs()
	if err != nil {
		t.Fatal(err)
	}
	s, err := r.reader.Tables(t.Context(), append(devs, remap.Dev{Major: 9, Minor: 9})...) // one is gone
	if err != nil {
		t.Fatal(err)
	}
	return stackOf(t, s)
}

// wantMeeting compares which pairs of devices share storage.
func (r *rig) wantMeeting(t *testing.T, st *remap.Stack, want bool, pairs ...[2]string) {
	t.Helper()
	for _, p := range pairs {
		if _, meet := st.Footprint(r.Dev(p[0])).Overlaps(st.Footprint(r.Dev(p[1]))); meet != want {
			t.Errorf("%v share storage: %v", p, meet)
		}
	}
}

// TestWhoShares: devices of one disk, group, pool or origin do not use each other; those that
// overlap are.
func TestWhoShares(t *testing.T) {
	m := sysblocktest.New(t)
	m.NVMe(0, 1, "259:0", 1<<20)
	m.NVMe(1, 1, "259:8", 1<<20)
	m.Part("nvme0n1", "nvme0n1p1", "259:1", 1, 0, 1<<18)
	m.Part("nvme0n1", "nvme0n1p2", "259:2", 2, 1<<18, 1<<18)
	r := &rig{Machine: m, kernel: dmtest.New()}
	number := 0
	add := func(name, line string, slaves ...string) {
		dev := "253:" + string(rune('0'+number))
		number++
		m.Mapped(name, dev, name, 4096, slaves...)
		r.kernel.Set(mapped(m.Dev(name), name, "", line))
	}
	add("dm-0", "0 4096 linear 259:1 0", "nvme0n1p1")
	add("dm-1", "0 4096 linear 259:1 4096", "nvme0n1p1")
	add("dm-2", "0 4096 linear 259:1 8191", "nvme0n1p1")
	add("dm-3", "0 4096 striped 2 8 259:1 8192 259:8 0", "nvme0n1p1", "nvme1n1")
	add("dm-4", "0 4096 linear 259:8 2048", "nvme1n1")
	add("dm-5", "0 4096 linear 259:8 2047", "nvme1n1")
	r.reader = layout.NewReader(layout.Options{FS: m.FS(), DM: dmtable.New(r.kernel)})
	st := r.tables(t)
	r.wantMeeting(t, st, false, [2]string{"dm-0", "dm-1"}, [2]string{"dm-0", "nvme0n1p2"}, [2]string{"nvme0n1p1", "nvme0n1p2"}, [2]string{"dm-3", "dm-4"}, [2]string{"dm-3", "dm-1"})
	r.wantMeeting(t, st, true, [2]string{"dm-1", "dm-2"}, [2]string{"dm-2", "dm-3"}, [2]string{"dm-3", "dm-5"}, [2]string{"dm-0", "nvme0n1p1"}, [2]string{"dm-0", "nvme0n1"})
}

// TestWhoSharesArranged: thin volumes of one pool, and snapshots with what they are of.
func TestWhoSharesArranged(t *testing.T) {
	thin := newThinRig(t)
	thin.Mapped("dm-8", "253:8", "raw", 512, "nvme0n1")
	thin.kernel.Set(mapped(thin.Dev("dm-8"), "raw", "", "0 512 linear 259:0 2100"))
	thin.Mapped("dm-9", "253:9", "beside", 512, "nvme0n1")
	thin.kernel.Set(mapped(thin.Dev("dm-9"), "beside", "", "0 512 linear 259:0 2560"))
	st := thin.tables(t)
	thin.wantMeeting(t, st, false, [2]string{"dm-6", "dm-7"}, [2]string{"dm-6", "dm-9"})
	thin.wantMeeting(t, st, true, [2]string{"dm-6", "dm-5"}, [2]string{"dm-6", "dm-8"}, [2]string{"dm-7", "nvme0n1"})
	thin.sent(t, 0, 0)

	snap := newSnapRig(t)
	snap.Mapped("dm-3", "253:3", "top", 4096, "dm-0")
	snap.kernel.Set(mapped(snap.Dev("dm-3"), "top", "", "0 4096 snapshot-origin 253:0"))
	st = snap.tables(t)
	snap.wantMeeting(t, st, false, [2]string{"dm-2", "dm-3"}, [2]string{"dm-0", "dm-1"})
	snap.wantMeeting(t, st, true, [2]string{"dm-2", "dm-0"}, [2]string{"dm-2", "dm-1"}, [2]string{"dm-3", "dm-0"})
}
