package layercopies

import (
	"bytes"
	"fmt"
	"maps"
	"os/exec"
	"slices"
	"testing"

	"github.com/dmcopy/dmcopy/internal/dispatch/account"
	"github.com/dmcopy/dmcopy/remap"
	"github.com/dmcopy/dmcopy/test/copying"
	"github.com/dmcopy/dmcopy/test/vm"
)

// share is how much of a copy the disk does by itself.
type share int

const (
	allRaw  share = iota + 1 // everything that is not zeroes
	someRaw                  // a part
	noneRaw                  // nothing
)

// outcome is what has to become of a copy.
type outcome struct {
	share   share
	reasons []remap.Reason // each of them, and no other
}

// raw is a copy that the disk does.
var raw = &outcome{share: allRaw}

// host is a copy through the host, for reasons.
func host(reasons ...remap.Reason) *outcome { return &outcome{noneRaw, reasons} }

// partly is a copy parts of which go through the host, for reasons.
func partly(reasons ...remap.Reason) *outcome { return &outcome{someRaw, reasons} }

// try runs the program and returns its report, and what it says besides.
func try(args ...string) (*account.Report, string, error) {
	report, says, code, err := copying.Run(exec.Command("dmcopy", append([]string{"copy", "--json"}, args...)...))
	if err == nil && (code != 0 || report.Result != account.OutcomeOK || !copying.AddsUp(report)) {
		err = fmt.Errorf("%v: exit code %d: %s%+v", args, code, says, *report)
	}
	return report, says, err
}

// transfer is a copy to be made and checked.
type transfer struct {
	src, dst     string
	srcAt, dstAt int64 // bytes
	length       int64
	args         []string
	want         *outcome
}

// run copies and checks, again if the hold did not last: on a machine with
// little time for us it may expire, which costs nothing but time, and says
// nothing of the layers.
func (b *bench) run(x transfer) {
	b.Helper()
	const attempts = 3
	for n := range attempts {
		report := b.once(x)
		if report.Redone+report.Fallbacks == 0 || x.want.share != allRaw || n == attempts-1 {
			x.want.check(b.T, report)
			return
		}
		b.fill(x.dst)
	}
}

// once copies. The destination must hold the source where it was written, and
// what it held before everywhere else; the source must hold what it held.
func (b *bench) once(x transfer) *account.Report {
	b.Helper()
	srcBefore, want := b.read(x.src, 0, b.size(x.src)), b.read(x.dst, 0, b.size(x.dst))
	copied := srcBefore[x.srcAt : x.srcAt+x.length]
	if bytes.Equal(copied, want[x.dstAt:x.dstAt+x.length]) {
		b.Fatalf("%s and %s are equal before the copy", x.src, x.dst)
	}
	copy(want[x.dstAt:], copied)
	b.readCached(x.dst, x.dstAt, x.length) // a cache that will be stale
	report, said, err := try(append(slices.Clone(x.args), "--range", fmt.Sprintf("%d:%d:%d", x.srcAt, x.dstAt, x.length), x.src, x.dst)...)
	if err != nil {
		b.Fatal(err)
	}
	b.Logf("offloaded %d, host %d, zeroed %d, reasons %v, %.1fs %s", report.Offloaded, report.Host, report.Zeroed, report.Reasons, report.Seconds, said)
	b.same("destination through the page cache", x.dst, b.readCached(x.dst, x.dstAt, x.length), want[x.dstAt:][:min(x.length, mib)])
	b.same("destination", x.dst, b.read(x.dst, 0, int64(len(want))), want)
	b.same("source", x.src, b.read(x.src, 0, int64(len(srcBefore))), srcBefore)
	b.checkGaps()
	return report
}

// check compares a report with what has to become of the copy.
func (o *outcome) check(t *testing.T, r *account.Report) {
	t.Helper()
	var got share
	switch {
	case r.Offloaded == 0:
		got = noneRaw
	case r.Host == 0:
		got = allRaw
	default:
		got = someRaw
	}
	if got != o.share {
		t.Errorf("%d of %d bytes offloaded, %d through the host", r.Offloaded, r.Total, r.Host)
	}
	reasons := make(map[remap.Reason]bool)
	for _, why := range r.Reasons {
		reasons[why.Reason] = true
	}
	if given, wanted := slices.Sorted(maps.Keys(reasons)), slices.Sorted(slices.Values(o.reasons)); !slices.Equal(given, wanted) {
		t.Errorf("reasons %v, want %v", given, wanted)
	}
	if o.share != noneRaw && (r.Redone != 0 || r.Fallbacks != 0) {
		t.Errorf("%d bytes done again, %d fallbacks", r.Redone, r.Fallbacks)
	}
	if t.Failed() {
		t.Logf("tables:\n%s\nstatus:\n%s", vm.Run(t, "dmsetup", "table"), vm.Run(t, "dmsetup", "status", "--noflush"))
	}
}

// subject is a device with a kind of layer in it.
type subject struct {
	path string
	args []string // of the program
	// source and target are what becomes of copies from it and to it; nil where
	// there are none.
	source, target *outcome
	// filled tells that it holds what it has to hold already.
	filled bool
	// check lets the kind say whether all is well, after each copy.
	check func()
}

// margin is what is left out of a copy at either end, skew how far the two ends
// are from lying at equal offsets.
const (
	margin = 1*mib + 4*kib
	skew   = 12 * kib
)

// exercise copies from a subject, and then to it, which may change how it is made.
func (b *bench) exercise(s *subject) {
	b.Helper()
	size := b.size(s.path)
	length := size - 2*margin
	if !s.filled {
		b.fill(s.path)
	}
	check := func() {
		if s.check != nil {
			s.check()
		}
	}
	if s.source != nil {
		b.Run("source", func(t *testing.T) {
			b := b.in(t)
			dst := b.part(size)
			b.fill(dst)
			b.run(transfer{src: s.path, dst: dst, srcAt: margin, dstAt: margin - skew, length: length, args: s.args, want: s.source})
			check()
		})
	}
	if s.target != nil {
		b.Run("destination", func(t *testing.T) {
			b := b.in(t)
			src := b.part(size)
			b.fill(src)
			b.run(transfer{src: src, dst: s.path, srcAt: margin + skew, dstAt: margin, length: length, args: s.args, want: s.target})
			check()
		})
	}
}

// in is the same bench for a subtest, whose devices are gone with the subtest.
func (b *bench) in(t *testing.T) *bench {
	inner := *b
	inner.T = t
	t.Cleanup(func() { b.seed, b.names, b.parts = inner.seed, inner.names, inner.parts })
	return &inner
}
