// Package resume kills copies on a real kernel, and has them go on: with
// commands in flight, with writes that were not flushed, with sectors that cannot
// be read.
package resume

import (
	"errors"
	"io/fs"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/dmcopy/dmcopy/internal/dispatch/account"
	"github.com/dmcopy/dmcopy/internal/journal"
	"github.com/dmcopy/dmcopy/test/copying"
	"github.com/dmcopy/dmcopy/test/vm"
)

const mib = 1 << 20

var (
	leaf  = vm.Disk{Serial: "leaf", Size: 512 * mib, Copy: vm.CopyLimits{MSSRL: 2048, MCL: 4096, MSRC: 127}}
	plain = vm.Disk{Bus: vm.BusVirtio, Serial: "plain", Size: 256 * mib}
	log   = vm.Disk{Bus: vm.BusVirtio, Serial: "log", Size: 256 * mib}
)

func TestMain(m *testing.M) {
	vm.Main(m, vm.Machine{
		Cmdline:  "loglevel=3",
		Programs: []string{"github.com/dmcopy/dmcopy/cmd/dmcopy"},
		Disks:    []vm.Disk{leaf, plain, log},
	})
}

// job is a copy with a state file, by the program itself.
type job struct {
	src, dst string
	size     int64
	state    string
	flags    []string
}

func newJob(t *testing.T, src, dst string, size int64, flags ...string) *job {
	return &job{src: src, dst: dst, size: size, state: filepath.Join(t.TempDir(), "state"), flags: flags}
}

func (j *job) command(flags ...string) *exec.Cmd {
	args := append([]string{"copy", "--json", "--state", j.state}, j.flags...)
	return exec.Command("dmcopy", append(append(args, flags...), j.src, j.dst)...)
}

// end runs the copy to its end.
func (j *job) end(t *testing.T, flags ...string) (report *account.Report, says string, code int) {
	t.Helper()
	report, says, code, err := copying.Run(j.command(flags...))
	if err != nil {
		t.Fatal(err)
	}
	return report, says, code
}

// complete runs the copy to its end, which has to be a good one, and copies no
// more than what the state says to be left.
func (j *job) complete(t *testing.T) *account.Report {
	t.Helper()
	done := j.done(t)
	if done == j.size && j.read(t).Stage == journal.Complete {
		done = 0 // it was killed when all was over: a complete copy is begun anew
	}
	report, says, code := j.end(t)
	if code != 0 {
		t.Fatalf("exit code %d: %s%+v", code, says, report)
	}
	if report.Total != j.size || report.Skipped != done || report.Offloaded+report.Host+report.Zeroed != j.size-done {
		t.Errorf("%d bytes were done, and %+v", done, report)
	}
	if err := vm.Compare(j.src, 0, j.dst, 0, j.size); err != nil {
		t.Error(err)
	}
	if s := j.read(t); s.Stage != journal.Complete {
		t.Errorf("%+v", s)
	}
	return report
}

func (j *job) read(t *testing.T) *journal.State {
	t.Helper()
	s, err := journal.Read(j.state)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// done is how much the state says to be done; nothing without one.
func (j *job) done(t *testing.T) int64 {
	t.Helper()
	s, err := journal.Read(j.state)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, journal.ErrEmpty):
		return 0
	case err != nil:
		t.Fatal(err)
	}
	return s.Map.Bytes(journal.Done)
}
