package dispatch_test

import (
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/copydomain"
	"github.com/dmcopy/dmcopy/copydomain/nvme"
	"github.com/dmcopy/dmcopy/dispatch"
	"github.com/dmcopy/dmcopy/internal/dispatch/account"
	"github.com/dmcopy/dmcopy/internal/dispatch/plan"
	"github.com/dmcopy/dmcopy/remap"
	"github.com/dmcopy/dmcopy/test/fakestack"
)

// newCrossNamespace is a controller with two namespaces: the source lies on the first
// and the destination at the same place of the second.
func newCrossNamespace(t testing.TB, mode copydomain.CrossNamespace) *volumes {
	t.Helper()
	v := newVolumesOn(t, fakestack.Namespace{Limits: nvme.Limits{RangeBlocks: 64, CommandBlocks: 512, Ranges: 8}})
	other := v.AddNamespace(fakestack.Namespace{Sectors: 8 * volume, Limits: fakestack.Roomy, Beside: v.ns})
	v.dst = v.AddMapped(fakestack.Segment{Len: volume, Target: fakestack.Linear{Dev: other, Start: srcPlace}})
	v.CrossNamespaces(mode, nil)
	return v
}

// told: the controller takes format 2.
func (v *volumes) told() bool {
	b := v.loop.Behavior()
	return b.CopyFormats().Has(nvme.Format2)
}

// TestCrossNamespace: from one namespace to another, by the smaller limits of
// both, and afterwards the controller is as it was.
func TestCrossNamespace(t *testing.T) {
	for _, told := range []bool{false, true} {
		v := newCrossNamespace(t, copydomain.CrossEnable)
		before := nvme.HostBehavior{0: 1, 4: 1 << 3}.WithCopyFormat(nvme.Format2, told)
		v.loop.SetBehavior(before)
		rep := v.mustCopy(t, dispatch.Options{})
		if rep.Offloaded != volume.Bytes() || rep.ByMethod[account.NVMeCopyXNS] != rep.Total || v.Calls("write") > 0 || rep.Commands < 8 {
			t.Errorf("%d writes through the host, %+v", v.Calls("write"), rep)
		}
		if !v.told() {
			t.Error("copies between namespaces were disabled while the finder lives")
		}
		if err := v.Close(); err != nil || v.loop.Behavior() != before {
			t.Errorf("%v, %x instead of %x", err, v.loop.Behavior(), before)
		}
	}
}

// TestCrossNamespaceNotEnabled: without being asked to, nobody tells a controller
// anything, and neither does a plan.
func TestCrossNamespaceNotEnabled(t *testing.T) {
	v := newCrossNamespace(t, copydomain.CrossAsFound)
	if rep := v.mustCopy(t, dispatch.Options{}); rep.Offloaded != 0 || rep.Commands != 0 || reason(rep, copydomain.ReasonCrossDisabled) != rep.Total {
		t.Errorf("%+v", rep)
	}
	v.CrossNamespaces(copydomain.CrossForecast, nil)
	job := dispatch.Job{Src: v.Endpoint(v.src), Dst: v.Endpoint(v.dst)}
	if sum := planOf(t, v.Machine, job); sum.offloaded != volume.Bytes() {
		t.Errorf("%d bytes would be offloaded", sum.offloaded)
	}
	if v.told() {
		t.Error("the controller was told")
	}
}

// TestCrossNamespaceRefused: kernels that do not pass the feature on.
func TestCrossNamespaceRefused(t *testing.T) {
	v := newCrossNamespace(t, copydomain.CrossEnable)
	v.loop.SetAdminFault(func(c *nvme.Command) (nvme.Status, error) {
		if c.Opcode == nvme.OpSetFeatures {
			return 0, unix.EACCES
		}
		return 0, nil
	})
	if rep := v.mustCopy(t, dispatch.Options{}); rep.Offloaded != 0 || reason(rep, copydomain.ReasonCrossDisabled) != rep.Total {
		t.Errorf("%+v", rep)
	}
	v.loop.SetAdminFault(nil)
}

// TestControllerReset: a controller that is reset forgets what it was told. What
// it has copied stays copied, and the rest goes through the host.
func TestControllerReset(t *testing.T) {
	for name, before := range map[string]func(v *volumes){
		"at a command": func(v *volumes) {
			v.Hooks.Command = func(n int, c *nvme.Command) {
				if n == 3 {
					v.loop.SetBehavior(nvme.HostBehavior{})
				}
			}
		},
		"at a window": func(v *volumes) {
			v.Hooks.Held = func(n int) {
				if n == 2 {
					v.loop.SetBehavior(nvme.HostBehavior{})
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			v := newCrossNamespace(t, copydomain.CrossEnable)
			before(v)
			rep := v.mustCopy(t, dispatch.Options{Window: 512 * kib, InFlight: 1})
			if rep.Offloaded == 0 || rep.Host == 0 || reason(rep, copydomain.ReasonCrossDisabled) != rep.Host {
				t.Errorf("%+v", rep)
			}
		})
	}
}

// TestCrossNamespaceProof: a controller that reads from its destination instead of
// the source, at the same numbers, is found out.
func TestCrossNamespaceProof(t *testing.T) {
	v := newCrossNamespace(t, copydomain.CrossEnable)
	v.loop.SetFault(func(_ int, c *nvme.Command) nvme.Fault { return nvme.Fault{Silent: c.Opcode == nvme.OpCopy} })
	rep := v.mustCopy(t, dispatch.Options{Window: 512 * kib})
	if rep.Offloaded != 0 || reason(rep, plan.ReasonProofFailed) != rep.Total || rep.Commands != 1 {
		t.Errorf("%+v", rep)
	}
}

// TestCrossNamespaceShared: blocks that both volumes hold are found on whichever
// namespace they are; equal numbers on two namespaces are not shared.
func TestCrossNamespaceShared(t *testing.T) {
	v := newCrossNamespace(t, copydomain.CrossEnable)
	there, half := v.below(t, v.dst), volume/2
	v.src = v.AddMapped(
		fakestack.Segment{Len: half, Target: fakestack.Linear{Dev: v.ns, Start: srcPlace}},
		fakestack.Segment{Len: half, Target: fakestack.Linear{Dev: there, Start: srcPlace}})
	want := v.expect()
	if rep, err := v.copy(t, dispatch.Options{}); err == nil {
		t.Errorf("half of the destination is read: %+v", rep)
	}
	untouched(t, want)
	v.src = v.AddMapped(
		fakestack.Segment{Len: half, Target: fakestack.Linear{Dev: v.ns, Start: srcPlace}},
		fakestack.Segment{Len: half, Target: fakestack.Linear{Dev: there, Start: spare}})
	rep := v.mustCopy(t, dispatch.Options{})
	if rep.ByMethod[account.NVMeCopyXNS] != half.Bytes() || rep.ByMethod[account.NVMeCopy] != half.Bytes() {
		t.Errorf("%+v", rep)
	}
}

// below is the disk of a volume that lies on one.
func (v *volumes) below(t testing.TB, dev remap.Dev) remap.Dev {
	t.Helper()
	leg, ok := v.Direct(dev, 0, true)
	if !ok {
		t.Fatal("the volume is not on a disk")
	}
	return leg.Dev
}
