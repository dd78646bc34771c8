package copies

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/dmcopy/dmcopy/internal/dispatch/account"
	"github.com/dmcopy/dmcopy/test/vm"
)

// run runs the command as a user would and returns what it prints and its exit
// code.
func run(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	return finish(t, exec.Command("dmcopy", args...))
}

func finish(t *testing.T, cmd *exec.Cmd) (stdout, stderr string, code int) {
	t.Helper()
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// refusedCase is a copy that must not begin.
type refusedCase struct {
	name string
	// prepare returns the arguments of dmcopy copy.
	prepare func(t *testing.T, src, dst string) []string
	code    int
	says    string
}

var refusedCases = []refusedCase{
	{"same device, overlapping", func(t *testing.T, src, dst string) []string {
		return []string{"--range", "0:4096:8192", src, src}
	}, 2, "overlap"},
	{"destination too small", func(t *testing.T, src, dst string) []string {
		return []string{"--dst-offset", "4096", src, dst}
	}, 6, "too small by 4096 bytes"},
	{"offset beyond the end", func(t *testing.T, src, dst string) []string {
		return []string{"--src-offset", "1T", src, dst}
	}, 2, "end"},
	{"zero length", func(t *testing.T, src, dst string) []string {
		return []string{"--length", "0", src, dst}
	}, 2, "length"},
	{"fraction", func(t *testing.T, src, dst string) []string {
		return []string{"--length", "0.3K", src, dst}
	}, 2, "0.3K"},
	{"overflow", func(t *testing.T, src, dst string) []string {
		return []string{"--length", "99999999999T", src, dst}
	}, 2, "99999999999T"},
	{"misaligned", func(t *testing.T, src, dst string) []string {
		return []string{"--src-offset", "100", src, dst}
	}, 2, "512"},
	{"read-only destination", func(t *testing.T, src, dst string) []string {
		vm.Run(t, "blockdev", "--setro", dst)
		t.Cleanup(func() { vm.Run(t, "blockdev", "--setrw", dst) })
		return []string{src, dst}
	}, 6, "read-only"},
	{"mounted destination", func(t *testing.T, src, dst string) []string {
		mount(t, dst)
		return []string{src, dst}
	}, 6, "mounted"},
	{"source mounted for writing", func(t *testing.T, src, dst string) []string {
		mount(t, src)
		return []string{src, dst}
	}, 6, "--live-source"},
	{"swap", func(t *testing.T, src, dst string) []string {
		vm.Run(t, "mkswap", dst)
		vm.Run(t, "swapon", dst)
		t.Cleanup(func() { vm.Run(t, "swapoff", dst) })
		return []string{src, dst}
	}, 6, "swap"},
	{"held by another device", func(t *testing.T, src, dst string) []string {
		vm.Mapped(t, "holder", fmt.Sprintf("0 8 linear %s 0", dst))
		return []string{src, dst}
	}, 6, "holder"},
	{"opened exclusively elsewhere", func(t *testing.T, src, dst string) []string {
		f, err := os.OpenFile(dst, os.O_RDWR|syscall.O_EXCL, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		return []string{src, dst}
	}, 6, "has it open for writing"},
	{"suspended destination", func(t *testing.T, src, dst string) []string {
		return []string{src, suspend(t, dst)}
	}, 6, "suspended"},
	{"suspended source", func(t *testing.T, src, dst string) []string {
		return []string{suspend(t, src), dst}
	}, 6, "suspended"},
	{"missing", func(t *testing.T, src, dst string) []string {
		return []string{src, "/dev/vg/none"}
	}, 6, "/dev/vg/none"},
	{"a directory", func(t *testing.T, src, dst string) []string {
		return []string{src, "/tmp"}
	}, 6, "/tmp"},
	{"offload cannot be met", func(t *testing.T, src, dst string) []string {
		return []string{"--offload", "require", src, vm.Device(t, plain)}
	}, 5, "cannot be offloaded"},
	{"hold cannot be met", func(t *testing.T, src, dst string) []string {
		return []string{"--offload", "require", "--hold", "none", src, dst}
	}, 5, "hold"},
	{"error target", func(t *testing.T, src, dst string) []string {
		return []string{"--length", "4096", src, vm.Mapped(t, "broken", "0 8 error")}
	}, 6, "keeps no data"},
}

// mount mounts a new file system that writes nothing by itself from then on: ext4 would make its tables of
// inodes later, in a thread of the kernel, and what mount has changed is written within seconds.
func mount(t *testing.T, device string) {
	t.Helper()
	vm.Run(t, "mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0", device)
	dir := t.TempDir()
	vm.Run(t, "mount", device, dir)
	vm.Run(t, "sync", "--file-system", dir)
	t.Cleanup(func() { vm.Run(t, "umount", dir) })
}

func suspend(t *testing.T, device string) string {
	t.Helper()
	vm.Run(t, "dmsetup", "suspend", device)
	t.Cleanup(func() { vm.Run(t, "dmsetup", "resume", device) })
	return device
}

// TestRefusals: what must not begin says why, in one line, with its exit code,
// and writes nothing.
func TestRefusals(t *testing.T) {
	vm.Group(t, "vg", vm.Device(t, alpha))
	const size = 16 * mib
	src, dst := vm.Volume(t, "vg", "a", size), vm.Volume(t, "vg", "b", size)
	vm.Settle(t)
	for _, c := range refusedCases {
		t.Run(c.name, func(t *testing.T) {
			vm.Stamp(t, src, 1, 0, size)
			vm.Stamp(t, dst, 2, 0, size)
			args := c.prepare(t, src, dst)
			before := written(t, src, dst)
			_, stderr, code := run(t, append([]string{"copy", "--json"}, args...)...)
			t.Logf("exit %d: %s", code, stderr)
			if code != c.code {
				t.Errorf("exit code %d, want %d", code, c.code)
			}
			if !strings.Contains(stderr, c.says) {
				t.Errorf("the message does not say %q", c.says)
			}
			if after := written(t, src, dst); after != before {
				t.Errorf("%d sectors were written", after-before)
			}
		})
	}
}

// written counts the sectors written to both, through the top.
func written(t *testing.T, src, dst string) (sum uint64) {
	t.Helper()
	for _, d := range []string{src, dst} {
		_, w, err := vm.Diskstats(d)
		if err != nil {
			t.Fatal(err)
		}
		sum += w
	}
	return sum
}

// TestWithoutPrivilege runs the command as nobody.
func TestWithoutPrivilege(t *testing.T) {
	src, dst := pairOn(t, vm.Device(t, alpha))
	path, err := exec.LookPath("dmcopy")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, "copy", src, dst)
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	_, stderr, code := finish(t, cmd)
	t.Logf("exit %d: %s", code, stderr)
	if code != 6 || !strings.Contains(stderr, "root") {
		t.Errorf("exit code %d: %s", code, stderr)
	}
}

// TestCommand copies as a user would, and reads the result as a script would.
func TestCommand(t *testing.T) {
	vm.Group(t, "vg", vm.Device(t, alpha))
	const size = 64 * mib
	src, dst := vm.Volume(t, "vg", "a", size), vm.Volume(t, "vg", "b", size)
	vm.Stamp(t, src, 8, 0, size)
	for _, names := range [][2]string{{src, dst}, {"vg/a", "vg/b"}, {devOf(t, src).String(), devOf(t, dst).String()}} {
		vm.Stamp(t, dst, 9, 0, size)
		stdout, stderr, code := run(t, "copy", "--json", "--verify", "full", names[0], names[1])
		if code != 0 {
			t.Fatalf("exit code %d: %s", code, stderr)
		}
		var report account.Report
		if err := json.Unmarshal([]byte(stdout), &report); err != nil {
			t.Fatalf("%v in %s", err, stdout)
		}
		if report.Result != account.OutcomeOK || report.Offloaded != size || report.Host != 0 || report.Verified != account.VerifyFull {
			t.Errorf("%s", stdout)
		}
		vm.CheckStamp(t, dst, 8, 0, 0, size)
	}
	if _, _, code := run(t, "verify", src, dst); code != 0 {
		t.Errorf("verify of equal devices: exit code %d", code)
	}
	vm.Stamp(t, dst, 10, 12*mib, 4096)
	stdout, stderr, code := run(t, "verify", src, dst)
	// The first eight bytes of a stamp are its address, which is the same.
	if code != 7 || !strings.Contains(stdout, fmt.Sprint(12*mib+8)) {
		t.Errorf("verify of different devices: exit code %d: %s%s", code, stdout, stderr)
	}
}

// TestStackFile: a capture resolves offline as the machine does live.
func TestStackFile(t *testing.T) {
	vm.Group(t, "vg", vm.Device(t, alpha), vm.Device(t, beta))
	src := vm.Volume(t, "vg", "a", 32*mib, "-i2", "-I64k")
	dst := vm.Volume(t, "vg", "b", 32*mib, vm.Device(t, alpha))
	capture, stderr, code := run(t, "capture", src, dst)
	if code != 0 {
		t.Fatalf("capture: %s", stderr)
	}
	file := filepath.Join(t.TempDir(), "stack.json")
	if err := os.WriteFile(file, []byte(capture), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"map", "--json", "vg/a"}, {"map", "--for", "write", "vg/b"}, {"plan", "--json", "vg/a", "vg/b"},
		{"tree", "vg/a", "vg/b"}, {"domains", "vg/a", "vg/b"},
	} {
		live, _, liveCode := run(t, args...)
		offline, stderr, offlineCode := run(t, append([]string{args[0], "--stack", file}, args[1:]...)...)
		if live != offline || liveCode != 0 || offlineCode != 0 {
			t.Errorf("%v: live (exit %d):\n%s\noffline (exit %d):\n%s%s", args, liveCode, live, offlineCode, offline, stderr)
		}
	}
}

// TestNoSecrets looks for the key of a crypt device in everything that any
// command prints.
func TestNoSecrets(t *testing.T) {
	disk := vm.Device(t, alpha)
	key := make([]byte, 64)
	for i := range key {
		key[i] = byte(17*i + 3)
	}
	secret := hex.EncodeToString(key)
	src := vm.Mapped(t, "secret", fmt.Sprintf("0 %d crypt aes-xts-plain64 %s 0 %s 2048", faultSectors, secret, disk))
	dst := vm.Mapped(t, "dst", fmt.Sprintf("0 %d linear %s %d", faultSectors, disk, 2048+faultSectors))
	vm.Stamp(t, src, 1, 0, faultSectors*512)
	for _, args := range [][]string{
		{"copy", "--log-level", "debug", src, dst}, {"copy", "--json", "--log-level", "debug", src, dst},
		{"plan", src, dst}, {"plan", "--json", src, dst}, {"map", "--json", src}, {"tree"}, {"tree", "--json"},
		{"domains", "--json"}, {"capture"}, {"verify", src, dst},
	} {
		stdout, stderr, code := run(t, args...)
		if code != 0 {
			t.Errorf("%v: exit code %d: %s", args, code, stderr)
		}
		printed := strings.ToLower(stdout + stderr)
		for _, trace := range []string{secret, secret[:32], string(key), string(key[:16])} {
			if strings.Contains(printed, strings.ToLower(trace)) {
				t.Errorf("%v prints the key", args)
			}
		}
		if args[0] == "tree" && !strings.Contains(printed, "crypt") {
			t.Errorf("%v does not show the crypt layer", args)
		}
	}
}

// TestInterrupt: the first interrupt lets everything in flight come back.
func TestInterrupt(t *testing.T) {
	src, dst := pairOn(t, vm.Device(t, alpha))
	vm.Stamp(t, src, 1, 0, faultSectors*512)
	vm.Slowly(t, alpha, 8*mib)
	cmd := exec.Command("dmcopy", "copy", "--json", "--window", "1M", "--progress", "json", src, dst)
	var stdout bytes.Buffer
	cmd.Stdout = &stdout
	progress, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := json.NewDecoder(progress)
	for {
		var status struct {
			Phase     string `json:"phase"`
			BytesDone int64  `json:"bytes_done"`
		}
		if err := lines.Decode(&status); err != nil {
			t.Fatalf("progress: %v", err)
		}
		if status.BytesDone > 0 {
			break
		}
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	err = cmd.Wait()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 130 {
		t.Fatalf("%v, want exit code 130", err)
	}
	var report account.Report
	if err := json.Unmarshal(stdout.Bytes(), &report); err != nil {
		t.Fatalf("%v in %s", err, stdout.Bytes())
	}
	if report.Result != account.OutcomeIncomplete || report.Offloaded == 0 || report.Offloaded >= faultSectors*512 {
		t.Errorf("%s", stdout.Bytes())
	}
}
