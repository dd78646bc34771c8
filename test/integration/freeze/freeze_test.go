package freeze

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/internal/dispatch/account"
	"github.com/dmcopy/dmcopy/internal/journal"
	"github.com/dmcopy/dmcopy/test/vm"
)

// TestFrozenCopies copies file systems that are written to all the time. The copies
// are sound, and are those of one moment; the writer goes on afterwards.
func TestFrozenCopies(t *testing.T) {
	for _, kind := range []string{"ext4", "xfs"} {
		t.Run(kind, func(t *testing.T) {
			l := newLake(t, kind)
			// However often it is mounted, it is one file system.
			again := t.TempDir()
			vm.Run(t, "mount", "--bind", l.point, again)
			defer vm.Run(t, "umount", again)
			w := l.write()
			w.goesOn()
			for _, c := range []struct {
				dst   string
				flags []string
			}{
				{l.dst, []string{"--offload", "require"}},
				{vm.Device(t, plain), []string{"--verify", "full"}},
			} {
				before := w.written.Load()
				report, says, code := run(t, append(append([]string{"copy", "--json", "--freeze"}, c.flags...), l.src, c.dst)...)
				after := w.written.Load()
				wants(t, code, 0, says)
				if report.Result != account.OutcomeOK || report.Frozen <= 0 || report.Total != size {
					t.Errorf("%+v", report)
				}
				w.goesOn()
				t.Logf("%s: frozen for %.1f of %.1f s", c.dst, report.Frozen, report.Seconds)
				// A file can have its name before it is counted.
				l.check(c.dst, before, after+1)
			}
			w.end()
		})
	}
}

// TestKilled: the helper thaws when dmcopy is gone, and dmcopy when the helper is.
func TestKilled(t *testing.T) {
	for _, kind := range []string{"ext4", "xfs"} {
		t.Run(kind, func(t *testing.T) {
			l := newLake(t, kind)
			w := l.write()
			w.goesOn()
			t.Run("dmcopy", func(t *testing.T) {
				r := l.start()
				began := time.Now()
				if err := r.Process.Signal(unix.SIGKILL); err != nil {
					t.Fatal(err)
				}
				l.thaws()
				t.Logf("thawed %v after the signal", time.Since(began))
				w.goesOn()
			})
			t.Run("stopped", func(t *testing.T) {
				r := l.start()
				// It would thaw after an hour; all of the group gets this signal.
				for _, pid := range append(helpers(t), r.Process.Pid) {
					if err := unix.Kill(pid, unix.SIGTERM); err != nil {
						t.Fatal(err)
					}
				}
				r.says(t, 130, "dmcopy stops when everything in flight has come back")
				if l.frozen() {
					t.Error("it is frozen still")
				}
				w.goesOn()
			})
			t.Run("helper", func(t *testing.T) {
				r := l.start()
				for _, pid := range helpers(t) {
					if err := unix.Kill(pid, unix.SIGKILL); err != nil {
						t.Fatal(err)
					}
				}
				r.says(t, 1, "not frozen all the time", "the process that keeps it frozen has ended")
				if l.frozen() {
					t.Error("it is frozen still")
				}
				w.goesOn()
			})
			t.Run("thawed", func(t *testing.T) {
				r := l.start()
				vm.Run(t, "fsfreeze", "--unfreeze", l.point)
				w.goesOn()
				if err := r.Process.Signal(unix.SIGINT); err != nil {
					t.Fatal(err)
				}
				r.says(t, 130, "thawed by somebody else")
			})
			t.Run("thawed and frozen again", func(t *testing.T) {
				r := l.start()
				vm.Run(t, "fsfreeze", "--unfreeze", l.point)
				w.goesOn()
				vm.Run(t, "fsfreeze", "--freeze", l.point)
				if err := r.Process.Signal(unix.SIGINT); err != nil {
					t.Fatal(err)
				}
				r.says(t, 130, "thawed by somebody else, and frozen again")
				l.thaws()
			})
			w.end()
		})
	}
}

// helpers are the processes that keep file systems frozen.
func helpers(t *testing.T) []int {
	t.Helper()
	var found []int
	lists, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, list := range lists {
		text, err := os.ReadFile(list)
		if err == nil && strings.HasPrefix(string(text), "dmcopy-freeze-helper") {
			var pid int
			if _, err := fmt.Sscanf(list, "/proc/%d/", &pid); err != nil {
				t.Fatal(err)
			}
			found = append(found, pid)
		}
	}
	if len(found) == 0 {
		t.Fatal("there is no helper")
	}
	return found
}

// TestDeadline: a copy that takes too long fails, and the next run makes a sound copy
// of what it has left.
func TestDeadline(t *testing.T) {
	for _, kind := range []string{"ext4", "xfs"} {
		t.Run(kind, func(t *testing.T) {
			l := newLake(t, kind)
			w := l.write()
			w.goesOn()
			for _, limit := range []string{"1ms", "2s", "5s"} { // whatever the copy does by then
				report, says, code := run(t, "copy", "--json", "--freeze", "--freeze-timeout", limit, "--rate", slowly, l.src, l.dst)
				wants(t, code, 1, says, "is not consistent", "the time for it to be frozen was over")
				if report.Result != "" && report.Result != account.OutcomeIncomplete || report.Frozen != 0 || l.frozen() {
					t.Errorf("%+v, %v", report, l.frozen())
				}
				t.Logf("%s: %d bytes were copied, %s", limit, report.Offloaded+report.Host, says)
				w.goesOn()
			}

			state := filepath.Join(t.TempDir(), "state")
			stated := []string{"--state", state, "--state-every", "100ms", l.src, l.dst}
			done := l.begins(state, append([]string{"--rate", slowly}, stated...))
			w.goesOn()
			_, says, code := run(t, append([]string{"copy", "--json", "--live-source"}, stated...)...)
			wants(t, code, 6, says, "copied with --freeze")
			before := w.written.Load()
			report, says, code := run(t, append([]string{"copy", "--json", "--freeze", "--freeze-timeout", "5m"}, stated...)...)
			wants(t, code, 0, says)
			t.Logf("%d bytes were done, %+v", done, report)
			w.goesOn()
			l.check(l.dst, before, w.written.Load()+1)
			w.end()
		})
	}
}

// slowly has a copy take minutes.
const slowly = "2M"

// begins has a copy with a state run out of time after it has done something, however
// long it takes to begin. It returns how much was done.
func (l *lake) begins(state string, args []string) int64 {
	l.t.Helper()
	for limit := 5 * time.Second; limit < time.Minute; limit *= 2 {
		_, says, code := run(l.t, append([]string{"copy", "--json", "--freeze", "--freeze-timeout", limit.String()}, args...)...)
		s, err := journal.Read(state)
		if errors.Is(err, fs.ErrNotExist) {
			wants(l.t, code, 1, says, "is not consistent")
			continue
		}
		wants(l.t, code, 3, says, "is not consistent", "dmcopy resume")
		if err != nil || s.Stage == journal.Complete {
			l.t.Fatalf("%+v, %v", s, err)
		}
		if done := s.Map.Bytes(journal.Done); done > 0 {
			return done
		}
	}
	l.t.Fatal("nothing is done within half a minute")
	return 0
}

// TestRefused: what cannot be frozen, or would stop the copy itself, is refused, and
// nothing is frozen.
func TestRefused(t *testing.T) {
	l := newLake(t, "ext4")
	other := vm.Device(t, plain)
	vm.Run(t, "mount", "-o", "remount,ro", l.point)
	errs, code := shell("dmcopy copy --freeze " + l.src + " " + l.dst)
	vm.Run(t, "mount", "-o", "remount,rw", l.point)
	wants(t, code, 6, errs, "is not mounted read-write: there is nothing to freeze")
	t.Log(errs)
	inside := func(name string) string { return filepath.Join(l.point, name) }
	var loops []string
	for _, name := range []string{"one", "two", "file"} {
		if err := os.WriteFile(inside(name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(inside(name), size); err != nil {
			t.Fatal(err)
		}
		if name != "file" {
			loops = append(loops, strings.TrimSpace(vm.Run(t, "losetup", "--show", "--find", inside(name))))
		}
	}
	loop := loops[0]
	vm.Run(t, "dmsetup", "create", "onloop", "--table", fmt.Sprintf("0 %d linear %s 0", size/512, loops[1]))
	dmcopy, err := exec.LookPath("dmcopy")
	if err != nil {
		t.Fatal(err)
	}
	vm.Run(t, "cp", dmcopy, inside("dmcopy"))
	for name, c := range map[string]struct {
		shell string
		says  string
	}{
		"live":        {"dmcopy copy " + l.src + " " + l.dst, "(lvcreate -s), freeze it for a short copy (copy --freeze), or accept"},
		"not mounted": {"dmcopy copy --freeze " + other + " " + l.dst, "is not mounted read-write: there is nothing to freeze"},
		"file":        {"dmcopy copy --freeze " + l.src + " " + inside("file"), "the destination " + inside("file") + " lies on it"},
		"new file":    {"dmcopy copy --freeze " + l.src + " " + inside("new"), "the destination " + inside("new") + " lies on it"},
		"loop":        {"dmcopy copy --freeze " + l.src + " " + loop, "the destination " + loop + " lies on it"},
		"above loop":  {"dmcopy copy --freeze " + l.src + " /dev/mapper/onloop", "the destination /dev/mapper/onloop lies on it"},
		"state":       {"dmcopy copy --freeze --state " + inside("state") + " " + l.src + " " + l.dst, "the state file " + inside("state") + " lies on it"},
		"directory":   {"cd " + l.point + " && dmcopy copy --freeze " + l.src + " " + l.dst, "the working directory lies on it"},
		"output":      {"dmcopy copy --freeze " + l.src + " " + l.dst + " >" + inside("out"), "standard output lies on it"},
		"log":         {"dmcopy copy --freeze " + l.src + " " + l.dst + " 2>" + inside("log"), ""},
		"program":     {inside("dmcopy") + " copy --freeze " + l.src + " " + l.dst, "dmcopy itself lies on it"},
		"dry":         {"dmcopy copy --freeze --dry-run --state " + inside("state") + " " + l.src + " " + l.dst, "lies on it"},
	} {
		says, code := shell(c.shell)
		wants(t, code, 6, name+": "+says, c.says)
		t.Logf("%s: %s", name, says)
	}
	says, err := os.ReadFile(inside("log"))
	if err != nil || !strings.Contains(string(says), "standard error lies on it") {
		t.Errorf("%q, %v", says, err)
	}
	if _, err := os.Stat(inside("new")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file was made for a copy that was refused: %v", err)
	}
	vm.Run(t, "fsfreeze", "--freeze", l.point)
	errs, code = shell("dmcopy copy --freeze " + l.src + " " + l.dst)
	vm.Run(t, "fsfreeze", "--unfreeze", l.point)
	t.Log(errs)
	wants(t, code, 6, errs, "is frozen already")
	if l.frozen() {
		t.Error("it is frozen")
	}
	vm.Run(t, "dmsetup", "remove", "--retry", "onloop")
	for _, loop := range loops {
		vm.Run(t, "losetup", "--detach", loop)
	}
}

// shell runs a command that is expected to fail.
func shell(line string) (says string, code int) {
	cmd := exec.Command("sh", "-c", line)
	out, _ := cmd.CombinedOutput()
	return string(out), cmd.ProcessState.ExitCode()
}
