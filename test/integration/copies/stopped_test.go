package copies

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/internal/dispatch/account"
	"github.com/dmcopy/dmcopy/test/vm"
)

// commandBytes is what one command copies on the small disk.
const commandBytes = 128 << 10

// underWay waits until the first commands after the proof have been carried out. There are many more to come.
func underWay(t *testing.T, disk string, seed uint64, place int64) {
	t.Helper()
	const at = 3 * commandBytes
	want, got := make([]byte, 512), vm.Aligned(t, 4096)
	vm.FillStamp(want, seed, at)
	vm.Eventually(t, "copied bytes", func() error {
		if vm.ReadDirect(t, disk, got, place+at); !bytes.Equal(got[:512], want) {
			return errors.New("not yet")
		}
		return nil
	})
}

// TestStopped: the process is stopped, or frozen, while commands of a window are under way and others are still to come.
// The hold ends in its time, the destination moves to another place, a neighbour writes to where it was, and only then does
// the process go on. It begins no command any more.
func TestStopped(t *testing.T) {
	disk := vm.Device(t, small)
	src := stay(t, "src", disk)
	m := newMover(t, disk)
	group := "/sys/fs/cgroup/stopped"
	if err := os.Mkdir(group, 0o755); err != nil {
		t.Fatal(err)
	}
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(group, name), []byte(text), 0); err != nil {
			t.Fatal(err)
		}
	}
	signal := func(p *program, s unix.Signal) {
		t.Helper()
		if err := p.cmd.Process.Signal(s); err != nil {
			t.Fatal(err)
		}
	}
	ways := []struct {
		name         string
		stop, resume func(p *program)
	}{
		{"SIGSTOP", func(p *program) { signal(p, unix.SIGSTOP) }, func(p *program) { signal(p, unix.SIGCONT) }},
		{"freezer", func(p *program) {
			write("cgroup.procs", fmt.Sprint(p.cmd.Process.Pid))
			write("cgroup.freeze", "1")
		}, func(*program) { write("cgroup.freeze", "0") }},
	}
	for i, way := range ways {
		for round := range 3 {
			t.Run(fmt.Sprint(way.name, round), func(t *testing.T) {
				m.t = t
				seed := uint64(300 + 10*i + round)
				vm.Stamp(t, src, seed, 0, movedSectors*512)
				fast := vm.Slowly(t, small, mib/2)
				p := begin(t, "copy", "--json", "--in-flight", fmt.Sprint(1+round), src, "/dev/mapper/moving")
				underWay(t, disk, seed, m.places[m.at]*512)
				way.stop(p)
				fast() // what is under way ends
				m.move()
				way.resume(p)
				p.wait("the end", p.ended)
				m.checkForeign()
				var report account.Report
				if err := json.Unmarshal([]byte(p.answer()), &report); err != nil {
					t.Fatal(err)
				}
				t.Logf("%s: %+v", p.cmd.ProcessState, report)
				if report.Commands >= movedSectors*512/commandBytes {
					t.Error("nothing was kept back")
				}
				switch code := p.cmd.ProcessState.ExitCode(); {
				case code == 0:
					vm.CheckStamp(t, "/dev/mapper/moving", seed, 0, 0, movedSectors*512)
				case code != 1 || !strings.Contains(strings.Join(report.Errors, ""), "destination changed"):
					t.Errorf("exit code %d: %q", code, p.said)
				}
			})
		}
	}
}
