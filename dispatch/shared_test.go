package dispatch_test

import (
	"testing"

	"github.com/dmcopy/dmcopy/dispatch"
	"github.com/dmcopy/dmcopy/internal/dispatch/hold"
	"github.com/dmcopy/dmcopy/test/fakestack"
)

// TestSharedGroups: below a volume of a group that other machines may change, wherever
// it is on the way, disks write on the word of the operator only. They read as ever:
// what the host would read is in the same place.
func TestSharedGroups(t *testing.T) {
	for name, c := range map[string]struct {
		share string
		mode  hold.Mode
		want  string // the reason; empty if disks copy
	}{
		"nobody":            {"", hold.Auto, ""},
		"destination":       {"destination", hold.Auto, "hold:shared"},
		"below destination": {"below", hold.Auto, "hold:shared"},
		"source":            {"source", hold.Auto, ""},
		"trusted":           {"destination", hold.Trust, ""},
		"none":              {"destination", hold.None, "hold:unavailable"},
	} {
		v := newVolumes(t)
		below := v.AddVolume("vg", v.linear(dstPlace)...)
		dst := v.AddVolume("vg", fakestack.Segment{Len: volume, Target: fakestack.Linear{Dev: below}})
		src := v.AddVolume("vg", v.linear(srcPlace)...)
		switch c.share {
		case "destination":
			v.Share(dst)
		case "below":
			v.Share(below)
		case "source":
			v.Share(src)
		}
		rep := mustCopy(t, v.Machine, src, dst, dispatch.Options{Hold: c.mode})
		if c.want == "" && rep.Offloaded != rep.Total || c.want != "" && (len(rep.Reasons) != 1 || string(rep.Reasons[0].Reason) != c.want || rep.Offloaded != 0) {
			t.Errorf("%s: %+v", name, rep)
		}
		if c.want == "hold:shared" && v.Calls("hold") > 0 {
			t.Errorf("%s: held for nothing", name)
		}
	}
}
