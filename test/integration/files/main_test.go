// Package files proves copies between regular files, and between loop devices, on
// the file systems of a real kernel: the bytes, by which way they went, and that
// blocks are really shared.
package files

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dmcopy/dmcopy/dispatch"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/internal/dispatch/account"
	"github.com/dmcopy/dmcopy/test/copying"
	"github.com/dmcopy/dmcopy/test/vm"
)

const (
	kib = 1 << 10
	mib = 1 << 20
)

var (
	one = vm.Disk{Bus: vm.BusVirtio, Serial: "one", Size: 512 * mib}
	two = vm.Disk{Bus: vm.BusVirtio, Serial: "two", Size: 512 * mib}
)

func TestMain(m *testing.M) {
	dispatch.Main()
	vm.Main(m, vm.Machine{
		Programs: []string{"github.com/dmcopy/dmcopy/cmd/dmcopy"},
		Disks:    []vm.Disk{one, two},
	})
}

// sharing are the file systems that share blocks.
var sharing = map[string][]string{
	"btrfs": {"mkfs.btrfs", "-q", "-f"},
	"xfs":   {"mkfs.xfs", "-q", "-f", "-m", "reflink=1"},
}

// smallBlocks are smaller than a page.
var smallBlocks = []string{"mkfs.xfs", "-q", "-f", "-m", "reflink=1", "-b", "size=1024"}

// each runs a test on every file system that shares blocks.
func each(t *testing.T, test func(t *testing.T, dir string)) {
	for name, mkfs := range sharing {
		t.Run(name, func(t *testing.T) { test(t, mounted(t, one, mkfs...)) })
	}
}

// mounted makes a file system on a disk and returns where it is mounted, until the
// end of the test.
func mounted(t *testing.T, disk vm.Disk, mkfs ...string) string {
	t.Helper()
	device := vm.Device(t, disk)
	vm.Run(t, "wipefs", "-qa", device)
	vm.Run(t, mkfs[0], append(mkfs[1:], device)...)
	dir := t.TempDir()
	vm.Run(t, "mount", device, dir)
	t.Cleanup(func() { vm.Run(t, "umount", dir) })
	return dir
}

// run copies with the program, and fails if the program does.
func run(t *testing.T, args ...string) *account.Report {
	t.Helper()
	report, stderr, code := tryRun(t, args...)
	if code != 0 {
		t.Fatalf("copy %v: exit code %d: %s%+v", args, code, stderr, report)
	}
	return report
}

func tryRun(t *testing.T, args ...string) (report *account.Report, stderr string, code int) {
	t.Helper()
	report, stderr, code = copying.Program(t, args...)
	t.Logf("%v: exit code %d: %+v", args, code, *report)
	return report, stderr, code
}

// content is what differs wherever it is looked at.
func content(seed uint64, size int64) []byte {
	b := make([]byte, size)
	rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)}).Read(b)
	return b
}

// write makes a file, whose data stay in the page cache.
func write(t *testing.T, data []byte, path ...string) string {
	t.Helper()
	file := filepath.Join(path...)
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// holds compares a file, first as everybody sees it, then as it is on the disk.
func holds(t *testing.T, path string, want []byte) {
	t.Helper()
	for _, drop := range []bool{false, true} {
		if drop {
			vm.Run(t, "sync", "-f", path)
			if err := os.WriteFile("/proc/sys/vm/drop_caches", []byte("3"), 0); err != nil {
				t.Fatal(err)
			}
		}
		got, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			at := 0
			for at < min(len(got), len(want)) && got[at] == want[at] {
				at++
			}
			t.Fatalf("%s: %d bytes instead of %d, the first difference at %d (caches dropped: %v)", path, len(got), len(want), at, drop)
		}
	}
}

// reason is how many bytes were kept from the file system for a reason.
func reason(r *account.Report, why string) int64 {
	for _, one := range r.Reasons {
		if string(one.Reason) == why {
			return one.Bytes
		}
	}
	return 0
}

// expect checks the way that the bytes went.
func expect(t *testing.T, r *account.Report, shared, host int64, why string) {
	t.Helper()
	if r.Offloaded != shared || r.ByMethod[account.FileReflink] != shared || r.Host != host || reason(r, why) != host {
		t.Errorf("want %d bytes shared, and %d through the host for %s: %+v", shared, host, why, r)
	}
}

// loop makes a loop device on a file, gone with the test.
func loop(t *testing.T, file string, args ...string) string {
	t.Helper()
	device := strings.TrimSpace(vm.Run(t, "losetup", append(append([]string{"--find", "--show"}, args...), file)...))
	t.Cleanup(func() {
		vm.Settle(t)
		vm.Run(t, "losetup", "--detach", device)
		vm.Eventually(t, "detaching of "+device, func() error {
			if _, err := os.Stat(filepath.Join("/sys/block", filepath.Base(device), "loop")); !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("still there: %w", err)
			}
			return nil
		})
	})
	return device
}

func truncate(t *testing.T, size int64, path ...string) string {
	t.Helper()
	file := write(t, nil, path...)
	if err := os.Truncate(file, size); err != nil {
		t.Fatal(err)
	}
	return file
}

func blocks(t *testing.T, path string) int64 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	return st.Blocks
}
