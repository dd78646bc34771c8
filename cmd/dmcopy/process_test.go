package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/internal/blockio"
	"github.com/dmcopy/dmcopy/internal/blockio/looptest"
	"github.com/dmcopy/dmcopy/internal/dispatch/account"
	"github.com/dmcopy/dmcopy/internal/dispatch/ends"
)

// newFile makes a file without data.
func newFile(t *testing.T, size int64) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	f, err := os.Create(path)
	if err == nil {
		err = errors.Join(f.Truncate(size), f.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// longFile makes a file with data, which is copied for longer than anybody waits at slowly.
func longFile(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	for range 32 { // what this process needs counts as that of those that it starts (getrusage(2))
		if _, err := f.Write(bytes.Repeat([]byte("data"), 1<<20/4)); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

const slowly = "--rate=256K"

// An interrupt ends a copy in good order: the report says how far it came.
func TestInterrupt(t *testing.T) {
	src := longFile(t)
	cmd := exec.Command("dmcopy", "copy", slowly, "--json", "--progress", "json", src, filepath.Join(t.TempDir(), "new"))
	var stdout bytes.Buffer
	cmd.Stdout = &stdout
	stderr, err := cmd.StderrPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(stderr)
	var said []string
	for sent := false; lines.Scan(); {
		said = append(said, lines.Text())
		var s statusMessage
		if !sent && json.Unmarshal(lines.Bytes(), &s) == nil && s.Done > 0 {
			sent = true
			if err := cmd.Process.Signal(unix.SIGINT); err != nil {
				t.Fatal(err)
			}
		}
	}
	err = cmd.Wait()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 130 {
		t.Errorf("%v, want exit code 130; it said:\n%s", err, strings.Join(said, "\n"))
	}
	var report account.Report
	if err := json.Unmarshal(stdout.Bytes(), &report); err != nil || report.Result == account.OutcomeOK || len(report.Errors) == 0 {
		t.Errorf("%v, %s", err, stdout.Bytes())
	}
	if !strings.Contains(strings.Join(said, "\n"), "interrupt again to stop at once") {
		t.Errorf("it said:\n%s", strings.Join(said, "\n"))
	}
}

// Where nothing is in flight, one interrupt is enough.
func TestInterruptBeforeTheCopy(t *testing.T) {
	cmd := exec.Command("dmcopy", "copy", "--ranges", "-", "a", "b")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	// More than the pipe holds: once it is written, the ranges are being read,
	// and the handler has been installed.
	if _, err := stdin.Write(bytes.Repeat([]byte("#\n"), 1<<17)); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Signal(unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	err = cmd.Wait()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 130 {
		t.Errorf("%v, want exit code 130", err)
	}
}

// A plan of a million pieces is streamed. Under the race detector, which makes each of them
// twenty times as dear, there are fewer.
func TestPlanStreams(t *testing.T) {
	count := 1 << 20
	if detectorShare > 1 && testing.Short() {
		count >>= 5
	}
	length := fmt.Sprint(count * 4096)
	const most = detectorShare * 100 << 10 // KiB, the unit of ru_maxrss (getrusage(2))
	for _, args := range [][]string{
		{"plan", "--json", "--length", length, "--stack", "testdata/stacks/striped.json", "stripes", "more"},
		{"map", "--json", "--length", length, "--stack", "testdata/stacks/striped.json", "stripes"},
	} {
		cmd := exec.Command("dmcopy", args...)
		pipe, err := cmd.StdoutPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		pieces := 0
		for lines := bufio.NewScanner(pipe); lines.Scan(); {
			if bytes.Contains(lines.Bytes(), []byte(`"length":4096`)) {
				pieces++
			}
		}
		if err := cmd.Wait(); err != nil || pieces != count {
			t.Errorf("%v: %d pieces, %v", args, pieces, err)
		}
		if used := cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss; used > most {
			t.Errorf("%v: %d KiB of memory, want at most %d", args, used, most)
		}
	}
}

// dmcopy runs the program in this process.
func dmcopy(args ...string) (code int, stdout, stderr string) {
	var out, err bytes.Buffer
	code = run(args, streams{in: strings.NewReader(""), out: &out, err: &err})
	return code, out.String(), err.String()
}

func TestLoopDevices(t *testing.T) {
	a, b := newFile(t, 4<<20), newFile(t, 4<<20)
	data := bytes.Repeat([]byte("storage\n"), 4<<20/8)
	if err := os.WriteFile(a, data, 0o600); err != nil {
		t.Fatal(err)
	}
	src, dst := looptest.Attach(t, a, 512), looptest.Attach(t, b, 4096)
	code, out, errs := dmcopy("copy", "--json", "--verify", "full", src, dst)
	var report account.Report
	if err := json.Unmarshal([]byte(out), &report); code != 0 || err != nil || report.Host != 4<<20 || report.Result != account.OutcomeOK {
		t.Fatalf("%d, %v\n%s%s", code, err, out, errs)
	}
	if code, out, errs := dmcopy("verify", filepath.Base(src), dst); code != 0 {
		t.Errorf("verify: %d\n%s%s", code, out, errs)
	}
	if code, _, errs := dmcopy("copy", "--dst-offset", "512", "--length", "4K", src, dst); code != 2 || !strings.Contains(errs, "4096-byte blocks of "+dst) {
		t.Errorf("misaligned: %d, %s", code, errs)
	}

	// Somebody else claims the destination.
	claim, err := blockio.Open(dst, blockio.Exclusive)
	if err != nil {
		t.Fatal(err)
	}
	defer claim.Close()
	for _, args := range [][]string{{"copy", src, dst}, {"copy", "--dry-run", src, dst}} {
		if code, _, errs := dmcopy(args...); code != 6 || !strings.Contains(errs, "opened exclusively by somebody else") {
			t.Errorf("%v: %d, %s", args, code, errs)
		}
	}
	code, out, errs = dmcopy("plan", src, dst)
	if code != 0 || !strings.Contains(errs, "copy would refuse this: "+dst) || !strings.Contains(out, "4.0 MiB from") {
		t.Errorf("plan: %d\n%s%s", code, out, errs)
	}
}

// A copy has the UUID of its original, and whoever made it is told how to change that.
func TestEqualUUIDs(t *testing.T) {
	a, b := newFile(t, 4<<20), newFile(t, 4<<20)
	header := make([]byte, 4096)
	copy(header[1036:], "\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x10")
	copy(header[4086:], "SWAPSPACE2")
	f, err := os.OpenFile(a, os.O_WRONLY, 0)
	if err == nil {
		_, err = f.Write(header)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	src, dst := looptest.Attach(t, a, 512), looptest.Attach(t, b, 512)
	for name, c := range map[string]struct {
		args  []string
		warns bool
	}{
		"all":               {[]string{src, dst}, true},
		"the beginning":     {[]string{"--length", "1M", src, dst}, true},
		"to somewhere else": {[]string{"--dst-offset", "1M", "--length", "1M", src, dst}, false},
		"too little":        {[]string{"--length", "512", src, dst}, false},
		"of a file":         {[]string{"--live-source", "--offload", "never", a, dst}, false},
		"to a file":         {[]string{"--create", src, filepath.Join(t.TempDir(), "new")}, false},
	} {
		code, out, errs := dmcopy(append([]string{"copy", "--json"}, c.args...)...)
		var report reportJSON
		if err := json.Unmarshal([]byte(out), &report); code != 0 || err != nil || report.Report.Result != account.OutcomeOK {
			t.Fatalf("%s: %d, %v: %s%s", name, code, err, out, errs)
		}
		want := dst + " now has the UUID of " + src + " (swap 01020304-0506-0708-090a-0b0c0d0e0f10): before you use both on one machine, give one of them another UUID: swaplabel --uuid \"$(uuidgen)\" " + dst
		if warned := len(report.Warnings) == 1 && report.Warnings[0] == want; warned != c.warns || strings.Contains(errs, "dmcopy: warning: "+want) != c.warns {
			t.Errorf("%s: %v %s", name, report.Warnings, errs)
		}
	}
}

// What this machine has can be shown, captured, and shown again.
func TestThisMachine(t *testing.T) {
	loop := looptest.Attach(t, newFile(t, 1<<20), 512)
	for _, args := range [][]string{{"tree", loop}, {"domains", loop}, {"map", loop}} {
		if code, out, errs := dmcopy(append(args, "--json")...); code != 0 || !json.Valid([]byte(out)) {
			t.Errorf("%v: %d\n%s%s", args, code, out, errs)
		}
	}
	code, out, errs := dmcopy("capture", loop)
	if code != 0 {
		t.Fatalf("capture: %d, %s", code, errs)
	}
	stack := filepath.Join(t.TempDir(), "stack.json")
	if err := os.WriteFile(stack, []byte(out), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"tree", loop}, {"map", loop}} {
		_, live, _ := dmcopy(args...)
		code, saved, errs := dmcopy(append(args, "--stack", stack)...)
		if code != 0 || saved != live {
			t.Errorf("%v: %d, %s\nlive:\n%s\nsaved:\n%s", args, code, errs, live, saved)
		}
	}
}

// A source that changes while it is copied, as was accepted, is told of in the report.
func TestLiveSourceChanges(t *testing.T) {
	src, dst := longFile(t), filepath.Join(t.TempDir(), "new")
	cmd := exec.Command("dmcopy", "copy", "--live-source", "--length", "256K", "--rate", "128K", "--json", "--progress", "json", src, dst)
	var out bytes.Buffer
	cmd.Stdout = &out
	stderr, err := cmd.StderrPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	var said []string
	change := sync.OnceFunc(func() {
		f, err := os.OpenFile(src, os.O_WRONLY, 0)
		if err == nil {
			_, err = f.WriteString("changed")
			err = errors.Join(err, f.Close())
		}
		if err != nil {
			t.Error(err)
		}
	})
	for lines := bufio.NewScanner(stderr); lines.Scan(); {
		said = append(said, lines.Text())
		var s statusMessage
		if json.Unmarshal(lines.Bytes(), &s) == nil && s.Done > 0 {
			change()
		}
	}
	err = cmd.Wait()
	var report reportJSON
	want := src + " was written to during the copy"
	if json.Unmarshal(out.Bytes(), &report) != nil || err != nil || !report.SourceChanged || len(report.Warnings) != 1 || !strings.HasPrefix(report.Warnings[0], want) {
		t.Errorf("%v: %s", err, out.Bytes())
	}
	if text := strings.Join(said, "\n"); !strings.Contains(text, `{"message_type":"warning","message":"`+want) {
		t.Error(text)
	}
}

// The command that is to be run names a device as it was named, as far as that is a path.
func TestDeviceName(t *testing.T) {
	loop := looptest.Attach(t, newFile(t, 1<<20), 512)
	link := filepath.Join(t.TempDir(), "a link")
	if err := os.Symlink(loop, link); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{loop: loop, filepath.Base(loop): loop, link: "'" + link + "'"} {
		end, err := ends.OpenSource(t.Context(), thisMachine, name, ends.OpenOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if got := deviceName(end); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
		if err := end.Close(); err != nil {
			t.Error(err)
		}
	}
}
