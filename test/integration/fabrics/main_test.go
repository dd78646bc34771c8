// Package fabrics proves copies on namespaces that the kernel reaches over more
// than a bus of its own: over a network, and over several paths.
package fabrics

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"testing"

	"github.com/dmcopy/dmcopy/dispatch"
	"github.com/dmcopy/dmcopy/dispatch/hold"
	"github.com/dmcopy/dmcopy/test/vm"
)

const mib = 1 << 20

// The disk of a storage node, and one that two controllers of this machine lead to.
var (
	node = vm.Disk{Serial: "node", NSID: 1, Size: 1024 * mib, Copy: vm.CopyLimits{MSSRL: 2048, MCL: 16384, MSRC: 127}}
	dual = vm.Disk{Serial: "dual", NSID: 1, Size: 256 * mib, Controllers: 2, Copy: vm.CopyLimits{MSSRL: 1024, MCL: 4096, MSRC: 127}}
)

func TestMain(m *testing.M) {
	if hold.IsHelper() {
		os.Exit(hold.HelperMain())
	}
	vm.Main(m, vm.Machine{
		Programs: []string{"github.com/dmcopy/dmcopy/cmd/dmcopy"},
		Disks:    []vm.Disk{node, dual},
	})
}

// ended is what became of a command.
type ended struct {
	report dispatch.Report
	stderr string
	code   int
}

// dmcopy runs the command in the background.
func dmcopy(t *testing.T, args ...string) <-chan ended {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd := exec.Command("dmcopy", append(args, "--json")...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan ended, 1)
	go func() {
		var e ended
		var exit *exec.ExitError
		if err := cmd.Wait(); err != nil && !errors.As(err, &exit) {
			fmt.Fprintln(&stderr, err)
		}
		e.stderr, e.code = stderr.String(), cmd.ProcessState.ExitCode()
		if err := json.Unmarshal(stdout.Bytes(), &e.report); err != nil {
			e.stderr += fmt.Sprintf("%v in %q", err, stdout.String())
		}
		done <- e
	}()
	return done
}

// mustCopy copies in the foreground.
func mustCopy(t *testing.T, args ...string) dispatch.Report {
	t.Helper()
	e := <-dmcopy(t, append([]string{"copy"}, args...)...)
	if e.code != 0 {
		t.Fatalf("copy %v: exit code %d: %s", args, e.code, e.stderr)
	}
	return e.report
}
