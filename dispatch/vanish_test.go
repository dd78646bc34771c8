package dispatch_test

import (
	"bytes"
	"context"
	"io/fs"
	"sync"
	"testing"

	"github.com/dmcopy/dmcopy/copydomain"
	"github.com/dmcopy/dmcopy/copydomain/files"
	"github.com/dmcopy/dmcopy/copydomain/nvme"
	"github.com/dmcopy/dmcopy/copydomain/scsi"
	"github.com/dmcopy/dmcopy/dispatch"
	"github.com/dmcopy/dmcopy/internal/dispatch/account"
	"github.com/dmcopy/dmcopy/internal/dispatch/byterange"
	"github.com/dmcopy/dmcopy/internal/dispatch/machine"
	"github.com/dmcopy/dmcopy/remap"
	"github.com/dmcopy/dmcopy/test/fakestack"
	"github.com/dmcopy/dmcopy/test/target"
)

// vanishing is a machine on which something happens between the plan and the first command.
type vanishing struct {
	machine.Machine
	once   sync.Once
	vanish func()
}

func (m *vanishing) Copier(ctx context.Context, pair copydomain.Pair, opt copydomain.CopyOptions) (copydomain.Copier, error) {
	m.once.Do(m.vanish)
	return m.Machine.Copier(ctx, pair, opt)
}

// vanishingPair is a pair that can be made to vanish.
type vanishingPair struct {
	m        *fakestack.Machine
	src, dst remap.Dev
	method   account.Method
	vanish   func()
	reason   remap.Reason // "" for any
}

// TestPairVanishes: a pair that has no method any more when the first command is to be issued goes through the
// host, whatever its method is, whether the disk or the target says so by an event, when it is asked, or by
// the answer to a command.
func TestPairVanishes(t *testing.T) {
	within := func(vanish func(v *volumes), reason remap.Reason) func(t *testing.T) vanishingPair {
		return func(t *testing.T) vanishingPair {
			v := newVolumes(t)
			return vanishingPair{v.Machine, v.src, v.dst, account.NVMeCopy, func() { vanish(v) }, reason}
		}
	}
	across := func(vanish func(v *volumes), reason remap.Reason) func(t *testing.T) vanishingPair {
		return func(t *testing.T) vanishingPair {
			v := newCrossNamespace(t, copydomain.CrossEnable)
			return vanishingPair{v.Machine, v.src, v.dst, account.NVMeCopyXNS, func() { vanish(v) }, reason}
		}
	}
	xcopy := func(vanish func(u *units)) func(t *testing.T) vanishingPair {
		return func(*testing.T) vanishingPair {
			u := newUnits(small(), 512, false)
			return vanishingPair{u.Machine, u.src, u.dst, methodXCopy, func() { vanish(u) }, ""}
		}
	}
	tokens := func(vanish func(m *fakestack.Machine, made *target.Target) error) func(t *testing.T) vanishingPair {
		return func(t *testing.T) vanishingPair {
			m := fakestack.New(15)
			made, disks := m.AddTokenTarget(*target.DefaultTokenLimits(), 512, 3*volume, 3*volume)
			at := func(dev remap.Dev) remap.Dev {
				return m.AddMapped(fakestack.Segment{Len: volume, Target: fakestack.Linear{Dev: dev, Start: 64}})
			}
			return vanishingPair{m, at(disks[0]), at(disks[1]), account.Method(copydomain.SCSIODX), func() {
				if err := vanish(m, made); err != nil {
					t.Error(err)
				}
			}, ""}
		}
	}
	another := func(u *scsi.LoopbackUnit) { u.Identity = scsi.LoopbackIdentity(77, u.Capacity) }
	for name, make := range map[string]func(t *testing.T) vanishingPair{
		"nvme: no limits, by an event": within(func(v *volumes) { v.loop.SetReported(1, nvme.Limits{}); v.Happen("nvme", remap.Dev{}) }, "limit:zero"),
		"nvme: no Copy any more, by an event": within(func(v *volumes) { v.loop.Change(func(c *nvme.Controller) { c.Copy = false }); v.Happen("block", v.ns) },
			"domain:no-copy-command"),
		"nvme: by the answer": within(func(v *volumes) {
			v.loop.SetFault(func(_ int, c *nvme.Command) nvme.Fault {
				if c.Opcode != nvme.OpCopy {
					return nvme.Fault{}
				}
				return nvme.Fault{Status: nvme.StatusInvalidOpcode}
			})
		}, "device:status-0x001"),
		"nvme: another disk": within(func(v *volumes) { v.loop.Change(func(c *nvme.Controller) { c.Serial = "X" }); v.LoseEvents() }, copydomain.ReasonIdentity),
		"across: no format 2, by an event": across(func(v *volumes) {
			v.loop.Change(func(c *nvme.Controller) { c.CopyFormats = 1 })
			v.Happen("nvme", remap.Dev{})
		}, "domain:format-2-unsupported"),
		"across: no format 2, when asked": across(func(v *volumes) { v.loop.Change(func(c *nvme.Controller) { c.CopyFormats = 1 }) }, "domain:format-2-unsupported"),
		"across: disabled by a reset":     across(func(v *volumes) { v.loop.SetBehavior(nvme.HostBehavior{}) }, copydomain.ReasonCrossDisabled),
		"across: disabled by a reset that is heard of": across(func(v *volumes) {
			v.loop.SetBehavior(nvme.HostBehavior{})
			v.Happen("nvme", remap.Dev{})
		}, copydomain.ReasonCrossDisabled),
		"xcopy: another unit, when asked":    xcopy(func(u *units) { u.target.Change(1, another) }),
		"xcopy: another unit, by an event":   xcopy(func(u *units) { u.target.Change(1, another); u.Happen("scsi", remap.Dev{}) }),
		"xcopy: another source, by an event": xcopy(func(u *units) { u.target.Change(0, another); u.Happen("scsi", remap.Dev{}) }),
		"tokens: another unit, when asked":   tokens(func(_ *fakestack.Machine, made *target.Target) error { return made.Impersonate(1, 0) }),
		"tokens: another unit, by an event": tokens(func(m *fakestack.Machine, made *target.Target) error {
			m.Happen("scsi", remap.Dev{})
			return made.Impersonate(1, 0)
		}),
	} {
		t.Run(name, func(t *testing.T) {
			p := make(t)
			want := p.m.Expect(p.src, p.dst, byterange.Range{Len: volume.Bytes()})
			job := dispatch.Job{Src: p.m.Endpoint(p.src), Dst: p.m.Endpoint(p.dst)}
			for step, err := range dispatch.New(p.m).Plan(t.Context(), job, dispatch.Options{}) {
				if err != nil || step.Method != p.method {
					t.Fatalf("%+v, %v", step, err)
				}
			}
			rep, err := dispatch.New(&vanishing{Machine: p.m, vanish: p.vanish}).Copy(t.Context(), job, dispatch.Options{Window: 512 * kib})
			checkReport(t, rep, err)
			if err != nil || rep.Host != rep.Total || rep.ByMethod[p.method] != 0 || p.reason != "" && reason(rep, p.reason) != rep.Total {
				t.Errorf("%v, %+v", err, rep)
			}
			copied(t, want)
		})
	}
}

// TestFilePairsVanish: so does a pair of files, by either method.
func TestFilePairsVanish(t *testing.T) {
	for _, method := range []files.Method{files.Clone, files.CopyRange} {
		for name, c := range map[string]struct {
			vanish func(r *fileRig, refuse *error)
			reason remap.Reason
		}{
			"no method": {func(r *fileRig, _ *error) {
				r.on = files.FileSystem{Type: "btrfs", Name: "one", Reason: files.ReasonFileSystem}
			}, copydomain.ReasonFileSystem},
			"gone":       {func(_ *fileRig, refuse *error) { *refuse = fs.ErrNotExist }, copydomain.ReasonFileAway},
			"forbidden":  {func(_ *fileRig, refuse *error) { *refuse = fs.ErrPermission }, copydomain.ReasonPermission},
			"larger":     {func(r *fileRig, _ *error) { r.on.Block = 2 * mib }, ""},
			"cut off":    {func(r *fileRig, _ *error) { r.loop.Source = r.loop.Source[:4096] }, ""},
			"other kind": {func(r *fileRig, _ *error) { r.on.Method = files.None; r.on.Reason = files.ReasonOtherSystem }, copydomain.ReasonOtherSystem},
		} {
			on := sharing
			on.Method = method
			r := newFileRig(on, mib, mib)
			var refuse error
			r.Finder = copydomain.NewFinderFor(copydomain.Openers{
				FileSystem: func(files.Name) (files.FileSystem, error) { return r.on, nil },
				Files:      func(files.Name, files.Name) (files.Transport, error) { return r.loop, refuse },
			})
			m := &vanishing{Machine: r.Machine, vanish: func() { c.vanish(r, &refuse) }}
			rep, err := dispatch.New(m).Copy(t.Context(), dispatch.Job{Src: r.src.endpoint(), Dst: r.dst.endpoint()}, dispatch.Options{})
			checkReport(t, rep, err)
			if err != nil || rep.Host != mib || c.reason != "" && reason(rep, c.reason) != mib || !bytes.Equal(r.src.data, r.dst.data) {
				t.Errorf("%v, %s: %v, %+v", method, name, err, rep)
			}
		}
	}
}

// TestInterruptedIsNotRejected: a pair that a copy could not use because it was ended is as good as before for the
// next copy.
func TestInterruptedIsNotRejected(t *testing.T) {
	v := newVolumes(t)
	ctx, cancel := context.WithCancel(t.Context())
	m := &vanishing{Machine: v.Machine, vanish: func() { cancel(); v.Happen("nvme", remap.Dev{}) }}
	e := dispatch.New(m)
	job := dispatch.Job{Src: v.Endpoint(v.src), Dst: v.Endpoint(v.dst)}
	if _, err := e.Copy(ctx, job, dispatch.Options{}); err == nil {
		t.Error("it was not ended")
	}
	rep, err := e.Copy(t.Context(), job, dispatch.Options{})
	if err != nil || rep.Offloaded != rep.Total {
		t.Errorf("%v, %+v", err, rep)
	}
}
