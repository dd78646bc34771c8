package plan

import (
	"testing"

	"github.com/dmcopy/dmcopy/internal/dispatch/account"
	"github.com/dmcopy/dmcopy/internal/dispatch/ends"
	"github.com/dmcopy/dmcopy/internal/dispatch/hold"
	"github.com/dmcopy/dmcopy/internal/dispatch/plan/plantest"
	"github.com/dmcopy/dmcopy/remap"
)

// written makes the step that writes the first half.
func writtenHalf(t *testing.T, st *remap.Stack, devs map[string]remap.Dev) map[Key][]Step {
	t.Helper()
	key := Key{devs["disk"], devs["disk"]}
	for e, err := range st.Resolve(remap.Write, remap.Range{Dev: devs["top"], Len: 100}) {
		if err != nil {
			t.Fatal(err)
		}
		return map[Key][]Step{key: {{Len: 100 * remap.SectorSize, Via: e.Via, DstLeaf: st.Node(devs["disk"])}}}
	}
	t.Fatal("nothing resolved")
	return nil
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
			st, devs := plantest.Forked(t, c.locked, c.owner)
			trust, disk := NewProofs(quiet).Trust(), st.Node(devs["disk"])
			trust.Reject(disk, disk, "reached")
			p := &Plan{Stack: st, Hold: c.mode, trust: trust}
			s := writtenHalf(t, st, devs)[Key{disk.Dev, disk.Dev}][0]
			s.SrcLeaf = s.DstLeaf
			p.chooseMethod(t.Context(), &s)
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

// A leaf with zones below a device without, and the other way round, is left to the host.
func TestZonedBelow(t *testing.T) {
	zonedLeaf := &remap.Node{Leaf: &remap.Leaf{Zoned: ends.HostManaged}}
	plainLeaf := &remap.Node{Leaf: &remap.Leaf{Zoned: "none"}}
	for _, tc := range []struct {
		leaf *remap.Node
		top  ends.ZoneReporter
		want remap.Reason
	}{{zonedLeaf, nil, "domain:zoned"}, {plainLeaf, zones{}, "domain:zoned"}} {
		p := &Plan{Dst: ends.Endpoint{Zones: tc.top}, Hold: hold.Trust}
		s := Step{SrcLeaf: tc.leaf, DstLeaf: tc.leaf, Method: account.Host}
		if p.chooseMethod(t.Context(), &s); s.Reason != tc.want || s.Method != account.Host {
			t.Errorf("%+v", s)
		}
	}
}

type zones struct{ ends.ZoneReporter }
