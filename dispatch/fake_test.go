package dispatch_test

import (
	"context"
	"errors"
	"testing"

	"pgregory.net/rapid"

	"github.com/dmcopy/dmcopy/copydomain/nvme"
	"github.com/dmcopy/dmcopy/dispatch"
	"github.com/dmcopy/dmcopy/internal/dispatch/account"
	"github.com/dmcopy/dmcopy/internal/dispatch/byterange"
	"github.com/dmcopy/dmcopy/internal/dispatch/failure"
	"github.com/dmcopy/dmcopy/internal/dispatch/plan"
	"github.com/dmcopy/dmcopy/remap"
	"github.com/dmcopy/dmcopy/test/fakestack"
)

const (
	sector = remap.SectorSize
	kib    = 1 << 10
	mib    = 1 << 20
)

// copyOf carries out a copy on the fake machine and checks what holds of every
// report.
func copyOf(t rapid.TB, m *fakestack.Machine, src, dst remap.Dev, opts dispatch.Options, ranges ...byterange.Range) (*account.Report, error) {
	t.Helper()
	return copyWith(context.Background(), t, m, src, dst, opts, ranges...)
}

func copyWith(ctx context.Context, t rapid.TB, m *fakestack.Machine, src, dst remap.Dev, opts dispatch.Options, ranges ...byterange.Range) (*account.Report, error) {
	t.Helper()
	job := dispatch.Job{Src: m.Endpoint(src), Dst: m.Endpoint(dst), Ranges: ranges}
	rep, err := dispatch.New(m).Copy(ctx, job, opts)
	checkReport(t, rep, err)
	return rep, err
}

// checkReport checks what a report has to satisfy however the copy ended.
func checkReport(t rapid.TB, rep *account.Report, err error) {
	t.Helper()
	if rep == nil {
		if err == nil {
			t.Fatal("neither a report nor an error")
		}
		return
	}
	sum := rep.Offloaded + rep.Host + rep.Zeroed + rep.Skipped
	var reasons, methods int64
	for _, r := range rep.Reasons {
		if r.Bytes <= 0 {
			t.Errorf("reason %s counts %d bytes", r.Reason, r.Bytes)
		}
		reasons += r.Bytes
	}
	for method, bytes := range rep.ByMethod {
		if bytes <= 0 {
			t.Errorf("method %s counts %d bytes", method, bytes)
		}
		methods += bytes
	}
	if reasons != sum-rep.Offloaded+rep.Failed {
		t.Errorf("reasons for %d bytes, but %d were not offloaded: %+v", reasons, sum-rep.Offloaded+rep.Failed, rep)
	}
	if methods != sum {
		t.Errorf("methods sum up to %d bytes, the report to %d: %+v", methods, sum, rep)
	}
	for _, n := range []int64{rep.Offloaded, rep.Host, rep.Zeroed, rep.Skipped, rep.Redone, rep.Commands} {
		if n < 0 {
			t.Errorf("negative number in %+v", rep)
		}
	}
	if err != nil {
		if rep.Result == account.OutcomeOK || len(rep.Errors) == 0 {
			t.Errorf("a report of success with error %v: %+v", err, rep)
		}
		if incomplete := errors.Is(err, failure.ErrInterrupted) || errors.Is(err, failure.ErrUnread) || errors.Is(err, failure.ErrThawed); (rep.Result == account.OutcomeIncomplete) != incomplete {
			t.Errorf("result %s with error %v", rep.Result, err)
		}
		if sum+rep.Failed > rep.Total || errors.Is(err, failure.ErrUnread) && sum+rep.Failed != rep.Total {
			t.Errorf("%d of %d bytes were copied, %d could not be read", sum, rep.Total, rep.Failed)
		}
		return
	}
	if rep.Result != account.OutcomeOK || len(rep.Errors) > 0 {
		t.Errorf("no error, but %+v", rep)
	}
	if sum != rep.Total {
		t.Errorf("%d of %d bytes are accounted for: %+v", sum, rep.Total, rep)
	}
}

// mustCopy demands success, right bytes everywhere, and nothing lost by a crash.
func mustCopy(t rapid.TB, m *fakestack.Machine, src, dst remap.Dev, opts dispatch.Options, ranges ...byterange.Range) *account.Report {
	t.Helper()
	want := m.Expect(src, dst, ranges...)
	rep, err := copyOf(t, m, src, dst, opts, ranges...)
	if err != nil {
		t.Fatal(err)
	}
	copied(t, want)
	m.Crash()
	if err := want.Copied(); err != nil {
		t.Fatalf("after a crash: %v", err)
	}
	return rep
}

func copied(t rapid.TB, want *fakestack.Expectation) {
	t.Helper()
	if err := want.Copied(); err != nil {
		t.Fatal(err)
	}
}

func untouched(t rapid.TB, want *fakestack.Expectation) {
	t.Helper()
	if err := want.Untouched(); err != nil {
		t.Fatal(err)
	}
}

func reason(rep *account.Report, why remap.Reason) int64 {
	for _, r := range rep.Reasons {
		if r.Reason == why {
			return r.Bytes
		}
	}
	return 0
}

// volumes is one namespace with two volumes of 2 MiB: what most tests need.
type volumes struct {
	*fakestack.Machine
	ns, src, dst remap.Dev
	loop         *nvme.Loopback
}

// Where the volumes lie on the namespace, and where there is room for more.
const (
	volume   = remap.Sector(2 * mib / sector)
	srcPlace = 1 * volume
	dstPlace = 3 * volume
	spare    = 5 * volume
)

func newVolumes(t testing.TB) *volumes {
	return newVolumesOn(t, fakestack.Namespace{Limits: fakestack.Roomy})
}

func newVolumesOn(t testing.TB, n fakestack.Namespace) *volumes {
	t.Helper()
	v := makeVolumes(n)
	t.Cleanup(func() { v.end(t) })
	return v
}

// makeVolumes are volumes that their maker ends.
func makeVolumes(n fakestack.Namespace) *volumes {
	n.Sectors = 8 * volume
	v := &volumes{Machine: fakestack.New(1)}
	v.ns = v.AddNamespace(n)
	v.src = v.AddMapped(v.linear(srcPlace)...)
	v.dst = v.AddMapped(v.linear(dstPlace)...)
	v.loop = v.Loopback(v.ns)
	return v
}

func (v *volumes) end(t rapid.TB) {
	v.loop.Wait()
	if err := v.Close(); err != nil {
		t.Error(err)
	}
}

// linear is a table for one of the volumes.
func (v *volumes) linear(start remap.Sector) []fakestack.Segment {
	return []fakestack.Segment{{Len: volume, Target: fakestack.Linear{Dev: v.ns, Start: start}}}
}

func (v *volumes) copy(t testing.TB, opts dispatch.Options, ranges ...byterange.Range) (*account.Report, error) {
	t.Helper()
	return copyOf(t, v.Machine, v.src, v.dst, opts, ranges...)
}

func (v *volumes) mustCopy(t testing.TB, opts dispatch.Options, ranges ...byterange.Range) *account.Report {
	t.Helper()
	return mustCopy(t, v.Machine, v.src, v.dst, opts, ranges...)
}

func (v *volumes) expect() *fakestack.Expectation { return v.Expect(v.src, v.dst) }

func TestOffloadsAll(t *testing.T) {
	v := newVolumes(t)
	rep := v.mustCopy(t, dispatch.Options{})
	if rep.Offloaded != volume.Bytes() || rep.Commands == 0 || v.Calls("write") > 0 {
		t.Errorf("%d writes through the host, %+v", v.Calls("write"), rep)
	}
}

func TestCopiesThroughHost(t *testing.T) {
	v := newVolumes(t)
	rep := v.mustCopy(t, dispatch.Options{Offload: plan.OffloadNever})
	if rep.Host != volume.Bytes() || reason(rep, plan.ReasonPolicyNever) != volume.Bytes() || v.Calls("hold") > 0 {
		t.Errorf("%+v", rep)
	}
}
