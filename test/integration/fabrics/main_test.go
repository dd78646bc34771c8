// Package fabrics proves copies on namespaces that the kernel reaches over more
// than a bus of its own: over a network, and over several paths.
package fabrics

import (
	"os/exec"
	"testing"

	"github.com/dmcopy/dmcopy/dispatch"

	"github.com/dmcopy/dmcopy/internal/dispatch/account"
	"github.com/dmcopy/dmcopy/test/copying"
	"github.com/dmcopy/dmcopy/test/vm"
)

const mib = 1 << 20

// The disk of a storage node, and one that two controllers of this machine lead to.
var (
	node = vm.Disk{Serial: "node", NSID: 1, Size: 1024 * mib, Copy: vm.CopyLimits{MSSRL: 2048, MCL: 16384, MSRC: 127}}
	dual = vm.Disk{Serial: "dual", NSID: 1, Size: 256 * mib, Controllers: 2, Copy: vm.CopyLimits{MSSRL: 1024, MCL: 4096, MSRC: 127}}
)

func TestMain(m *testing.M) {
	dispatch.Main()
	vm.Main(m, vm.Machine{
		Programs: []string{"github.com/dmcopy/dmcopy/cmd/dmcopy"},
		Disks:    []vm.Disk{node, dual},
	})
}

// ended is what became of a copy.
type ended struct {
	report *account.Report
	stderr string
	code   int
	err    error
}

// begin copies in the background.
func begin(args ...string) <-chan ended {
	done := make(chan ended, 1)
	go func() {
		var e ended
		e.report, e.stderr, e.code, e.err = copying.Run(exec.Command("dmcopy", append([]string{"copy", "--json"}, args...)...))
		done <- e
	}()
	return done
}

// mustCopy copies in the foreground.
func mustCopy(t *testing.T, args ...string) *account.Report {
	t.Helper()
	report, stderr, code := copying.Program(t, args...)
	if code != 0 {
		t.Fatalf("copy %v: exit code %d: %s", args, code, stderr)
	}
	return report
}
