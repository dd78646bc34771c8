// Package copies proves copies on a real kernel, on stacks that real tools have
// built, against what the kernel itself reads back afterwards.
package copies

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/dmcopy/dmcopy/dispatch"
	"github.com/dmcopy/dmcopy/dispatch/hold"
	"github.com/dmcopy/dmcopy/snapshot"
	"github.com/dmcopy/dmcopy/sysblock"
	"github.com/dmcopy/dmcopy/test/vm"
)

const (
	mib = 1 << 20
	gib = 1 << 30
)

// The disks. Two subsystems, because Copy does not reach from one into another;
// limits that make several commands of a copy, and the smallest that there are.
var (
	alpha  = vm.Disk{Serial: "alpha", NSID: 1, Size: 14 * gib, Copy: vm.CopyLimits{MSSRL: 2048, MCL: 16384, MSRC: 127}}
	alpha2 = vm.Disk{Serial: "alpha", NSID: 2, Size: 1 * gib, Copy: vm.CopyLimits{MSSRL: 2048, MCL: 16384, MSRC: 127}}
	beta   = vm.Disk{Serial: "beta", NSID: 1, Size: 1 * gib, Copy: vm.CopyLimits{MSSRL: 2048, MCL: 16384, MSRC: 127}}
	fourK  = vm.Disk{Serial: "fourk", NSID: 1, Size: 1 * gib, BlockSize: 4096, Copy: vm.CopyLimits{MSSRL: 256, MCL: 2048, MSRC: 127}}
	single = vm.Disk{Serial: "single", NSID: 1, Size: 256 * mib, Copy: vm.CopyLimits{MSSRL: 1, MCL: 1, MSRC: 0}}
	// Two namespaces of which each controller leads to both.
	pair1 = vm.Disk{Serial: "pair", NSID: 1, Size: 64 * mib, Controllers: 2, Copy: vm.CopyLimits{MSSRL: 256, MCL: 4096, MSRC: 127}}
	pair2 = vm.Disk{Serial: "pair", NSID: 2, Size: 64 * mib, Controllers: 2, Copy: vm.CopyLimits{MSSRL: 2048, MCL: 1024, MSRC: 7}}
	plain = vm.Disk{Bus: vm.BusVirtio, Serial: "plain", Size: 1 * gib}
	// This one is unplugged by a test.
	doomed = vm.Disk{Bus: vm.BusVirtio, Serial: "doomed", Size: 64 * mib, BytesPerSec: 16 * mib}
	// The small ones are read as a whole after every random trial.
	small1 = vm.Disk{Serial: "small1", NSID: 1, Size: 12 * mib, Copy: vm.CopyLimits{MSSRL: 64, MCL: 256, MSRC: 7}}
	small2 = vm.Disk{Serial: "small2", NSID: 1, Size: 12 * mib, Copy: vm.CopyLimits{MSSRL: 256, MCL: 512, MSRC: 0}}
	small3 = vm.Disk{Bus: vm.BusVirtio, Serial: "small3", Size: 12 * mib}
)

func TestMain(m *testing.M) {
	if hold.IsHelper() {
		os.Exit(hold.HelperMain())
	}
	vm.Main(m, vm.Machine{
		Programs: []string{"github.com/dmcopy/dmcopy/cmd/dmcopy"},
		Disks:    []vm.Disk{alpha, alpha2, beta, fourK, single, pair1, pair2, plain, doomed, small1, small2, small3},
	})
}

// kernel is the machine that the tests run on.
func kernel() (k *dispatch.Kernel, done func()) {
	reader := snapshot.NewReader(snapshot.Options{})
	k = dispatch.NewMachine(reader, nil)
	return k, func() { k.Close(); reader.Close() }
}

// patience bounds a copy; it is no measure.
const patience = 5 * time.Minute

// copyRanges copies as the command does, within this process, and lets both
// ends go before it returns.
func copyRanges(src, dst string, opts dispatch.Options, ranges ...dispatch.Range) (*dispatch.Report, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	from, err := dispatch.OpenSource(ctx, sysblock.FS(""), src, dispatch.OpenOptions{})
	if err != nil {
		return nil, err
	}
	defer from.Close()
	to, err := dispatch.OpenDestination(ctx, sysblock.FS(""), dst, dispatch.OpenOptions{})
	if err != nil {
		return nil, err
	}
	defer to.Close()
	k, done := kernel()
	defer done()
	return dispatch.New(k, opts).Copy(ctx, dispatch.Job{Src: from, Dst: to, Ranges: ranges})
}

// mustCopy is copyRanges for copies that succeed.
func mustCopy(t *testing.T, src, dst string, opts dispatch.Options, ranges ...dispatch.Range) *dispatch.Report {
	t.Helper()
	report, err := copyRanges(src, dst, opts, ranges...)
	if err != nil {
		t.Fatalf("copy %s to %s: %v (%+v)", src, dst, err, report)
	}
	if sum := report.Offloaded + report.Host + report.Zeroed + report.Skipped; sum != report.Total {
		t.Errorf("report does not add up: %+v", report)
	}
	return report
}
