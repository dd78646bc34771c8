package dispatch

import (
	"errors"
	"io"
	"log/slog"
	"testing"

	"github.com/dmcopy/dmcopy/dispatch/hold"
	"github.com/dmcopy/dmcopy/remap"
)

// forked is a destination whose first half goes through one device and whose
// second half through another, both on one disk.
func forked(t *testing.T, locked bool, owner remap.Owner) (*remap.Stack, map[string]remap.Dev) {
	t.Helper()
	devs := map[string]remap.Dev{
		"disk": {Major: 8}, "one": {Major: 253, Minor: 1}, "two": {Major: 253, Minor: 2}, "top": {Major: 253, Minor: 3},
	}
	st, err := remap.New([]*remap.Node{
		{Dev: devs["disk"], Size: 200, BlockSize: 512, Leaf: &remap.Leaf{}},
		{Dev: devs["one"], Size: 100, BlockSize: 512, Mutable: true, Locked: locked, Owner: owner, Layer: remap.Shifted{Layer: "dm:linear", Dev: devs["disk"]}},
		{Dev: devs["two"], Size: 100, BlockSize: 512, Mutable: true, Layer: remap.Shifted{Layer: "dm:linear", Dev: devs["disk"], Start: 100}},
		{Dev: devs["top"], Size: 200, BlockSize: 512, Mutable: true, Layer: halves{devs["one"], devs["two"]}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return st, devs
}

// halves maps a device of 200 sectors onto two of 100.
type halves [2]remap.Dev

func (h halves) Map(_ remap.Op, s, n remap.Sector) remap.Place {
	i := s / 100
	return remap.Place{Len: min(n, 100-s%100), Kind: remap.Data, Leg: remap.Leg{Dev: h[i], Start: s % 100, Readable: true}, Layer: "dm:linear"}
}

func (h halves) Below() []remap.Dev { return h[:] }

// written makes the step that writes the first half.
func written(t *testing.T, st *remap.Stack, devs map[string]remap.Dev) map[pairKey][]Step {
	t.Helper()
	key := pairKey{devs["disk"], devs["disk"]}
	for e, err := range st.Resolve(remap.Write, remap.Range{Dev: devs["top"], Len: 100}) {
		if err != nil {
			t.Fatal(err)
		}
		return map[pairKey][]Step{key: {{Len: 100 * remap.SectorSize, via: e.Via, DstLeaf: st.Node(devs["disk"])}}}
	}
	t.Fatal("nothing resolved")
	return nil
}

// TestMovedBelowCommands: every device on the way of the commands counts, and no other.
func TestMovedBelowCommands(t *testing.T) {
	st, devs := forked(t, false, remap.Owner{})
	r := &run{plan: &plan{stack: st}, log: slog.New(slog.NewTextHandler(io.Discard, nil))}
	r.job.Dst.Dev = devs["top"]
	for name, want := range map[string]bool{"top": true, "one": true, "disk": true, "two": false} {
		err := r.movedBelowCommands(t.Context(), nil, written(t, st, devs), []remap.Change{{Dev: devs[name], Name: name, What: "layout changed"}}, nil)
		if (err != nil) != want {
			t.Errorf("%s changed: %v, want an error: %v", name, err, want)
		}
	}
	both := []remap.Change{{Dev: devs["two"]}, {Dev: devs["one"]}}
	lost := errors.New("lost")
	if err := r.movedBelowCommands(t.Context(), nil, written(t, st, devs), both, lost); !errors.Is(err, lost) {
		t.Errorf("the second of two changes: %v", err)
	}
}

// TestLockedNeedsVolumeGroup: what is true only under the lock of a volume group
// is not written below where there is none, unless the operator vouches for it.
func TestLockedNeedsVolumeGroup(t *testing.T) {
	for name, c := range map[string]struct {
		locked bool
		owner  remap.Owner
		mode   hold.Mode
		want   bool
	}{
		"nobody's":            {true, remap.Owner{}, hold.Auto, true},
		"another manager's":   {true, remap.Owner{Manager: "stratis", Group: "pool"}, hold.Auto, true},
		"LVM's, group hidden": {true, remap.Owner{Manager: "lvm"}, hold.Auto, true},
		"LVM's":               {true, remap.Owner{Manager: "lvm", Group: "vg"}, hold.Auto, false},
		"not locked":          {false, remap.Owner{}, hold.Auto, false},
		"vouched for":         {true, remap.Owner{}, hold.Trust, false},
	} {
		t.Run(name, func(t *testing.T) {
			st, devs := forked(t, c.locked, c.owner)
			key := pairKey{devs["disk"], devs["disk"]}
			p := &plan{stack: st, hold: c.mode, poisoned: map[pairKey]remap.Reason{key: "reached"}}
			s := written(t, st, devs)[key][0]
			s.SrcLeaf = s.DstLeaf
			p.choose(t.Context(), &s)
			want := remap.Reason("reached")
			if c.want {
				want = ReasonHoldUnavailable
			}
			if s.Reason != want {
				t.Errorf("reason %s, want %s", s.Reason, want)
			}
		})
	}
}
