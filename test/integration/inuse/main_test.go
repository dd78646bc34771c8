// Package inuse uses devices and files in every way that there is on a real kernel, and
// has them copied meanwhile.
package inuse

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dmcopy/dmcopy/test/vm"
)

const mib = 1 << 20

// size is that of everything that is used and copied here.
const size = 12 * mib

var (
	disk  = vm.Disk{Serial: "disk", Size: size}
	other = vm.Disk{Bus: vm.BusVirtio, Serial: "other", Size: size}
	// paths is a disk that two controllers lead to, each of which makes a device of it.
	paths = vm.Disk{Serial: "paths", Size: size, Controllers: 2}
)

func TestMain(m *testing.M) {
	vm.Main(m, vm.Machine{
		Cmdline:  "loglevel=3 nvme_core.multipath=N",
		Programs: []string{"github.com/dmcopy/dmcopy/cmd/dmcopy"},
		Disks:    []vm.Disk{disk, other, paths},
	})
}

// dmcopy runs it to its end.
func dmcopy(t *testing.T, args ...string) (says string, code int) {
	t.Helper()
	cmd := exec.Command("dmcopy", args...)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return errs.String(), cmd.ProcessState.ExitCode()
}

// wipe leaves nothing on a device that udev or a tool could recognise.
func wipe(t *testing.T, device string) string {
	t.Helper()
	// A mount namespace ends a moment after the last of its processes.
	vm.Eventually(t, "end of the uses of "+device, func() error {
		_, err := vm.TryRun("wipefs", "-a", "-q", device)
		return err
	})
	vm.Run(t, "dd", "if=/dev/zero", "of="+device, "bs=1M", "count=2", "oflag=direct", "status=none")
	vm.Settle(t)
	return device
}

func format(t *testing.T, device string) { vm.Run(t, "mkfs.ext4", "-q", "-F", device) }

// mount mounts a device or a file, gone with the test, and returns where.
func mount(t *testing.T, device string, args ...string) string {
	t.Helper()
	point := t.TempDir()
	vm.Run(t, "mount", append(args, device, point)...)
	t.Cleanup(func() { vm.Run(t, "umount", point) })
	return point
}

// file makes a file in memory.
func file(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	path := filepath.Join(dir, "disk.img")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, size); err != nil {
		t.Fatal(err)
	}
	return path
}

// attach makes a loop device of a file or device, gone with the test.
func attach(t *testing.T, path string, args ...string) string {
	t.Helper()
	loop := strings.TrimSpace(vm.Run(t, "losetup", append([]string{"--show", "--find"}, append(args, path)...)...))
	t.Cleanup(func() { detach(t, loop) })
	return loop
}

func detach(t *testing.T, loop string) {
	vm.Eventually(t, "detach of "+loop, func() error {
		if _, err := os.Stat("/sys/block/" + filepath.Base(loop) + "/loop"); errors.Is(err, os.ErrNotExist) {
			return nil
		}
		_, err := vm.TryRun("losetup", "--detach", loop)
		return errors.Join(err, fmt.Errorf("%s is attached", loop))
	})
}

// shell runs a script in the background until the test ends; it is gone on with when the
// script has said "ready".
func shell(t *testing.T, program string, args ...string) {
	t.Helper()
	cmd := exec.Command(program, args...)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // it reads until it finds the end
		in.Close()
		_, _ = io.Copy(io.Discard, out)
		if err := cmd.Wait(); err != nil {
			t.Errorf("%v: %v", cmd.Args, err)
		}
	})
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		t.Fatalf("%v says %q, %v", cmd.Args, line, err)
	}
}

// holding is the end of such a script.
const holding = "; echo ready; exec cat >/dev/null"

// elsewhere runs a script in a mount namespace of its own.
func elsewhere(t *testing.T, script string) {
	t.Helper()
	shell(t, "unshare", "--mount", "sh", "-ec", script+holding)
}

// configure makes a directory of configfs and writes its attributes in this order, gone with the test.
func configure(t *testing.T, dir string, values ...string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for d := dir; ; d = filepath.Dir(d) {
			if err := os.Remove(d); err != nil {
				if d == dir {
					t.Error(err)
				}
				return
			}
		}
	})
	for i := 0; i < len(values); i += 2 {
		if err := os.WriteFile(filepath.Join(dir, values[i]), []byte(values[i+1]), 0); err != nil {
			t.Fatal(err)
		}
	}
}

// copying is a copy that goes on until the test ends it.
func copying(t *testing.T, src, dst string) (end func()) {
	t.Helper()
	cmd := exec.Command("dmcopy", "copy", "--progress", "json", "--rate", "64K", src, dst)
	out, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	var says strings.Builder
	for begun := false; !begun; {
		if !lines.Scan() {
			t.Fatalf("%v, %v: %s", lines.Err(), cmd.Wait(), says.String())
		}
		says.WriteString(lines.Text())
		begun = strings.Contains(lines.Text(), `"phase":"copying"`)
	}
	return func() {
		t.Helper()
		if err := cmd.Process.Signal(os.Interrupt); err != nil {
			t.Fatal(err)
		}
		for lines.Scan() {
			says.WriteString(lines.Text())
		}
		_ = cmd.Wait()
		if code := cmd.ProcessState.ExitCode(); code != 130 {
			t.Errorf("exit code %d: %s", code, says.String())
		}
	}
}
