package vm

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// Run runs a command and returns its standard output; a failure ends the test with everything that the command said.
func Run(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := TryRun(name, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TryRun runs a command in the C locale and returns its standard output. The error holds the command and both outputs and
// unwraps to the [exec.ExitError].
func TryRun(name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	// lvm warns about every descriptor that it inherits; ours are the test's business.
	cmd.Env = append(os.Environ(), "LC_ALL=C", "LVM_SUPPRESS_FD_WARNINGS=1")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("%s: %w\n%s%s", strings.Join(cmd.Args, " "), err, stdout.String(), stderr.String())
	}
	return stdout.String(), nil
}

// Settle waits until udev has handled all events so far.
func Settle(t testing.TB) {
	t.Helper()
	Run(t, "udevadm", "settle")
}

// Device finds the block device of a disk of the machine or ends the test.
func Device(t testing.TB, d Disk) string {
	t.Helper()
	path, err := Find(d)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// Diskstats returns how many 512-byte sectors the block layer has read from and written to a device since it appeared. A
// Copy command sent by ioctl moves data below these counters. Settle first: udev reads devices after writers have closed
// them. For an NVMe multipath head these are the sums of its paths: heads of old kernels (6.1) do not count.
func Diskstats(device string) (read, written uint64, err error) {
	resolved, err := filepath.EvalSymlinks(device)
	if err != nil {
		return 0, 0, err
	}
	counted := []string{filepath.Join("/sys/class/block", filepath.Base(resolved))}
	if m := headPattern.FindStringSubmatch(filepath.Base(resolved)); m != nil {
		paths, err := filepath.Glob("/sys/block/" + m[1] + "c*" + m[2])
		if err != nil {
			return 0, 0, err
		}
		if len(paths) > 0 {
			counted = paths
		}
	}
	for _, dir := range counted {
		r, w, err := readStat(filepath.Join(dir, "stat"))
		if err != nil {
			return 0, 0, err
		}
		read, written = read+r, written+w
	}
	return read, written, nil
}

// Crossed measures how many sectors of 512 bytes the host reads from and writes to disks while f runs.
func Crossed(t testing.TB, f func(), disks ...string) (sectors uint64) {
	t.Helper()
	count := func() (sum uint64) {
		for _, d := range disks {
			read, written, err := Diskstats(d)
			if err != nil {
				t.Fatal(err)
			}
			sum += read + written
		}
		return sum
	}
	before := count()
	f()
	return count() - before
}

// headPattern splits nvmeXnY, whose paths are called nvmeXcZnY.
var headPattern = regexp.MustCompile(`^(nvme[0-9]+)(n[0-9]+)$`)

// readStat reads fields 3 and 7 of a stat file, see Documentation/block/stat.rst.
func readStat(path string) (read, written uint64, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, 0, err
	}
	fields := strings.Fields(string(text))
	if len(fields) < 11 {
		return 0, 0, fmt.Errorf("%s: %d fields, want at least 11", path, len(fields))
	}
	if read, err = strconv.ParseUint(fields[2], 10, 64); err != nil {
		return 0, 0, fmt.Errorf("%s: %w", path, err)
	}
	if written, err = strconv.ParseUint(fields[6], 10, 64); err != nil {
		return 0, 0, fmt.Errorf("%s: %w", path, err)
	}
	return read, written, nil
}
