package dispatch_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/copydomain"
	"github.com/dmcopy/dmcopy/copydomain/scsi"
	"github.com/dmcopy/dmcopy/dispatch"
	"github.com/dmcopy/dmcopy/internal/dispatch/account"
	"github.com/dmcopy/dmcopy/internal/dispatch/byterange"
	"github.com/dmcopy/dmcopy/internal/dispatch/failure"
	"github.com/dmcopy/dmcopy/internal/dispatch/plan"
	"github.com/dmcopy/dmcopy/remap"
	"github.com/dmcopy/dmcopy/test/fakestack"
)

// units is a copy between volumes on logical units of a target, or within one.
type units struct {
	*fakestack.Machine
	target   *scsi.Loopback
	src, dst remap.Dev
}

const methodXCopy = account.Method(copydomain.SCSIXCopy)

// newUnits makes volumes of 4 MiB.
func newUnits(b scsi.Behaviour, block int, within bool) *units {
	u := &units{Machine: fakestack.New(14)}
	var disks []remap.Dev
	u.target, disks = u.AddTarget(b, block, 3*volume, 3*volume)
	at := func(dev remap.Dev, start remap.Sector) remap.Dev {
		return u.AddMapped(fakestack.Segment{Len: volume, Target: fakestack.Linear{Dev: dev, Start: start}})
	}
	u.src, u.dst = at(disks[0], 8), at(disks[1], 64)
	if within {
		u.dst = at(disks[0], 2*volume-64)
	}
	return u
}

// small are the manners of the kernel's target, with segments of 64 KiB.
func small() scsi.Behaviour {
	b := scsi.LIO()
	b.Parameters.SegmentBytes = 64 * kib
	return b
}

func TestUnits(t *testing.T) {
	for name, b := range map[string]scsi.Behaviour{"LIO": scsi.LIO(), "SCST": scsi.SCST(), "CTL": scsi.CTL(), "small": small()} {
		for _, block := range []int{512, 4096} {
			for _, within := range []bool{false, true} {
				u := newUnits(b, block, within)
				want := u.Expect(u.src, u.dst, byterange.Range{Len: volume.Bytes()})
				rep := mustCopy(t, u.Machine, u.src, u.dst, dispatch.Options{})
				copied(t, want)
				if rep.Offloaded != rep.Total || rep.ByMethod[methodXCopy] != rep.Total {
					t.Errorf("%s, blocks of %d, within %v: %+v", name, block, within, rep)
				}
			}
		}
	}
}

// fickle is a machine on which a pair has no method any more when it is to be used.
type fickle struct{ *fakestack.Machine }

func (fickle) Copier(context.Context, copydomain.Pair, copydomain.CopyOptions) (copydomain.Copier, error) {
	return nil, &copydomain.Withdrawn{Reason: copydomain.ReasonDuplicate}
}

// TestPairWithdrawn: then the host copies.
func TestPairWithdrawn(t *testing.T) {
	u := newUnits(small(), 512, false)
	want := u.Expect(u.src, u.dst, byterange.Range{Len: volume.Bytes()})
	job := dispatch.Job{Src: u.Endpoint(u.src), Dst: u.Endpoint(u.dst)}
	rep, err := dispatch.New(fickle{u.Machine}).Copy(t.Context(), job, dispatch.Options{Window: 512 * kib})
	checkReport(t, rep, err)
	if err != nil || rep.Host != rep.Total || rep.Commands != 0 || reason(rep, copydomain.ReasonDuplicate) != rep.Total {
		t.Errorf("%v, %+v", err, rep)
	}
	copied(t, want)
}

// TestUnitsThatLie: targets that copy nothing, too little or something else, and say
// that all is well, are found out by the first command. Those that take less than
// they say are asked for less.
func TestUnitsThatLie(t *testing.T) {
	for name, f := range map[string]scsi.Fault{
		"nothing":    {Silent: true},
		"too little": {Short: true, At: 100},
		"swapped":    {Swap: true},
	} {
		for _, within := range []bool{false, true} {
			u := newUnits(small(), 512, within)
			u.target.SetFault(func(int, *scsi.Command) scsi.Fault { return f })
			want := u.Expect(u.src, u.dst, byterange.Range{Len: volume.Bytes()})
			rep := mustCopy(t, u.Machine, u.src, u.dst, dispatch.Options{Window: 512 * kib})
			copied(t, want)
			if rep.Offloaded != 0 || reason(rep, plan.ReasonProofFailed) != rep.Total {
				t.Errorf("%s, within %v: %+v", name, within, rep)
			}
		}
	}
	less := scsi.CTL()
	less.EnforcedSegmentBlocks = 100
	u := newUnits(less, 512, false)
	want := u.Expect(u.src, u.dst, byterange.Range{Len: volume.Bytes()})
	rep := mustCopy(t, u.Machine, u.src, u.dst, dispatch.Options{})
	copied(t, want)
	if rep.Offloaded != rep.Total || rep.Fallbacks != 0 {
		t.Errorf("limits that are not true: %+v", rep)
	}
}

// TestUnitsFail: what follows from an answer in the middle of a copy.
func TestUnitsFail(t *testing.T) {
	sense := func(key scsi.SenseKey, asc, ascq uint8) scsi.Fault {
		return scsi.Fault{Completion: scsi.SenseCompletion(scsi.SenseCode{Key: key, ASC: asc, ASCQ: ascq}), At: 5, Junk: true}
	}
	const once, always = 4, 1 << 30
	for name, tc := range map[string]struct {
		fault scsi.Fault
		until int // the first command without the fault; the first with it is 3
		why   remap.Reason
		all   bool // from there on everything goes through the host
	}{
		"attention":       {sense(scsi.UnitAttention, 0x29, 0), once, "", false},
		"busy":            {scsi.Fault{Completion: scsi.Completion{Status: scsi.Busy}}, once, "", false},
		"read error":      {sense(scsi.CopyAborted, 0x0D, 0x02), once, "device:sense-a-0d-02", false},
		"not any more":    {sense(scsi.IllegalRequest, 0x20, 0), always, "device:sense-5-20-00", true},
		"attentions":      {sense(scsi.UnitAttention, 0x29, 0), always, "device:sense-6-29-00", false},
		"out of room":     {sense(scsi.DataProtect, 0x27, 0x07), always, "device:sense-7-27-07", false},
		"path in standby": {sense(scsi.NotReady, 0x04, 0x0B), once, "device:sense-2-04-0b", false},
	} {
		u := newUnits(small(), 512, false)
		u.target.SetFault(func(n int, _ *scsi.Command) scsi.Fault {
			if n >= 3 && n < tc.until {
				return tc.fault
			}
			return scsi.Fault{}
		})
		want := u.Expect(u.src, u.dst, byterange.Range{Len: volume.Bytes()})
		rep := mustCopy(t, u.Machine, u.src, u.dst, dispatch.Options{Window: 512 * kib})
		copied(t, want)
		if rep.Offloaded+rep.Host != rep.Total || rep.Offloaded == 0 || (rep.Host == 0) != (tc.why == "") || reason(rep, tc.why) != rep.Host {
			t.Errorf("%s: %+v", name, rep)
		}
		if tc.all && rep.Commands > 6 {
			t.Errorf("%s: asked again: %+v", name, rep)
		}
	}
}

// TestUnitsReserved: what somebody meant is told, and not worked around.
func TestUnitsReserved(t *testing.T) {
	for name, c := range map[string]scsi.Completion{
		"conflict":        {Status: scsi.ReservationConflict},
		"write protected": scsi.SenseCompletion(scsi.SenseCode{Key: scsi.DataProtect, ASC: 0x27}),
		"no access":       scsi.SenseCompletion(scsi.SenseCode{Key: scsi.IllegalRequest, ASC: 0x20, ASCQ: 0x02}),
		"unauthorised":    scsi.SenseCompletion(scsi.SenseCode{Key: scsi.IllegalRequest, ASC: 0x26, ASCQ: 0x15}),
	} {
		for _, first := range []int{0, 3} {
			u := newUnits(small(), 512, false)
			u.target.SetFault(func(n int, _ *scsi.Command) scsi.Fault {
				if n < first {
					return scsi.Fault{}
				}
				return scsi.Fault{Completion: c}
			})
			rep, err := copyOf(t, u.Machine, u.src, u.dst, dispatch.Options{})
			if !errors.Is(err, c.Err()) || rep == nil || rep.Host != 0 || u.Calls("write") > 0 {
				t.Errorf("%s from command %d: %v, %+v", name, first, err, rep)
			}
		}
	}
}

// TestUnitsLoseACommand: what a command of unknown fate may still write is left
// alone, by the host as well, and the copy is a failure.
func TestUnitsLoseACommand(t *testing.T) {
	for name, f := range map[string]scsi.Fault{
		"never comes back": {},
		"no answer":        {Lost: unix.EINTR},
		"host status":      {Completion: scsi.Completion{Host: 0x0E}, At: 3},
	} {
		u := newUnits(small(), 512, false)
		hold := make(chan struct{})
		u.target.SetFault(func(n int, _ *scsi.Command) scsi.Fault {
			if n != 3 {
				return scsi.Fault{}
			}
			lost := f
			if lost.Completion.Err() == nil {
				lost.Hold = hold
			}
			return lost
		})
		before := u.Content(u.dst, 0, volume)
		rep, err := copyOf(t, u.Machine, u.src, u.dst, dispatch.Options{Waits: dispatch.Waits{CommandTimeout: 10 * time.Millisecond}})
		if !errors.Is(err, failure.ErrFenced) || rep == nil || rep.Offloaded+rep.Host >= rep.Total {
			t.Errorf("%s: %v, %+v", name, err, rep)
		}
		// The proof is commands 0 and 1, or 0 alone; the fourth covers 64 KiB
		// somewhere, which nobody else has written.
		now, fenced := u.Content(u.dst, 0, volume), 0
		for at := int64(0); at < volume.Bytes(); at += sector {
			if string(now[at:at+sector]) == string(before[at:at+sector]) {
				fenced++
			}
		}
		if want := int(64 * kib / sector); fenced < want-3 {
			t.Errorf("%s: %d sectors are as they were, at least %d are fenced", name, fenced, want)
		}
		close(hold)
		u.target.Wait()
	}
}
