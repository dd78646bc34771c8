package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/internal/dispatch/account"
)

// A crash has an exit code of its own: that of a usage error says that nothing was
// written.
func TestCrashes(t *testing.T) {
	for _, how := range []string{"panic", "fatal"} {
		cmd := exec.Command("dmcopy-crash", how)
		text, _ := cmd.CombinedOutput() // how it ends is asked for below
		aborted(t, how, cmd.ProcessState, string(text))
	}
	cmd, _ := underWay(t, nil)
	if err := cmd.Process.Signal(unix.SIGQUIT); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	aborted(t, "SIGQUIT", cmd.ProcessState, "")
}

// aborted wants a process to have been ended by SIGABRT, and to have left no core file.
func aborted(t *testing.T, how string, state *os.ProcessState, text string) {
	t.Helper()
	status := state.Sys().(syscall.WaitStatus)
	if !status.Signaled() || status.Signal() != unix.SIGABRT || status.CoreDump() {
		t.Errorf("%s: %v: %s", how, state, text)
	}
}

// crash crashes as a fault of ours would.
func crash() {
	abortOnPanic()
	switch os.Args[1] {
	case "panic":
		panic("a fault of ours")
	case "fatal":
		m := make(map[int]int)
		for range 4 {
			go func() {
				for i := 0; ; i++ {
					m[i] = i
				}
			}()
		}
		for { // concurrent map writes, which no recover catches
			m[0]++
		}
	}
}

// underWay starts a copy that takes longer than anybody waits, and returns when it
// copies.
func underWay(t *testing.T, stdout io.Writer, wrap ...string) (*exec.Cmd, *bufio.Scanner) {
	t.Helper()
	src := longFile(t)
	args := append(wrap, "dmcopy", "copy", slowly, "--json", "--progress", "json", src, filepath.Join(t.TempDir(), "new"))
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdout = stdout
	stderr, err := cmd.StderrPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(stderr)
	for lines.Scan() {
		var s statusMessage
		if json.Unmarshal(lines.Bytes(), &s) == nil && s.Done > 0 {
			return cmd, lines
		}
	}
	t.Fatal("the copy has ended")
	return nil, nil
}

// A terminal that goes away ends a copy as an interrupt does, however often it says so.
func TestHangup(t *testing.T) {
	// Under nohup the tests ignore the signal, and so would the copy: what is handled here is not ignored there.
	signal.Notify(make(chan os.Signal, 1), unix.SIGHUP)
	defer signal.Reset(unix.SIGHUP)
	var out strings.Builder
	cmd, lines := underWay(t, &out)
	for range 3 {
		if err := cmd.Process.Signal(unix.SIGHUP); err != nil {
			t.Fatal(err)
		}
	}
	for lines.Scan() {
	}
	_ = cmd.Wait()
	var report account.Report
	err := json.Unmarshal([]byte(out.String()), &report)
	if code := cmd.ProcessState.ExitCode(); code != 130 || err != nil || report.Result != account.OutcomeIncomplete {
		t.Errorf("exit code %d, %v: %s", code, err, out.String())
	}
}

// Whoever runs the program with SIGHUP ignored wants it to go on.
func TestNohup(t *testing.T) {
	cmd, lines := underWay(t, nil, "nohup")
	if err := cmd.Process.Signal(unix.SIGHUP); err != nil {
		t.Fatal(err)
	}
	// It goes on: what is told from now on is more than what was under way.
	first, seen := int64(-1), 0
	for seen < 3 && lines.Scan() {
		var s statusMessage
		if json.Unmarshal(lines.Bytes(), &s) == nil && s.Done > first {
			first, seen = s.Done, seen+1
		}
	}
	if seen < 3 {
		t.Error("the copy has ended")
	}
	if err := cmd.Process.Signal(unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	for lines.Scan() {
	}
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 130 {
		t.Errorf("exit code %d", code)
	}
}

// Nobody reads what a copy says any more: it ends in good order.
func TestUnread(t *testing.T) {
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	src := longFile(t)
	var out strings.Builder
	cmd := exec.Command("dmcopy", "copy", slowly, "--json", "--progress", "json", src, filepath.Join(t.TempDir(), "new"))
	cmd.Stdout, cmd.Stderr = &out, writer
	if err := errors.Join(cmd.Start(), writer.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := bufio.NewReader(reader).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	if err := reader.Close(); err != nil { // as head -1 does
		t.Fatal(err)
	}
	_ = cmd.Wait()
	var report account.Report
	err = json.Unmarshal([]byte(out.String()), &report)
	if code := cmd.ProcessState.ExitCode(); code != 130 || err != nil || report.Result != account.OutcomeIncomplete {
		t.Errorf("exit code %d, %v: %s", code, err, out.String())
	}
}

// A list of which enough was read is no reason to complain.
func TestUnreadList(t *testing.T) {
	for _, args := range [][]string{
		{"map", "--stack", "testdata/stacks/striped.json", "stripes"},
		{"map", "--json", "--stack", "testdata/stacks/striped.json", "stripes"},
		{"plan", "--stack", "testdata/stacks/striped.json", "stripes", "more"},
	} {
		cmd := exec.Command("dmcopy", args...)
		var says strings.Builder
		cmd.Stderr = &says
		stdout, err := cmd.StdoutPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, err := bufio.NewReader(stdout).ReadString('\n'); err != nil {
			t.Fatal(err)
		}
		if err := stdout.Close(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait()
		if code := cmd.ProcessState.ExitCode(); code != 130 || says.Len() > 0 {
			t.Errorf("%v: exit code %d: %s", args, code, says.String())
		}
	}
}

// A copy that is complete is said to be, even where its report cannot be written.
func TestUnreported(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	cmd := exec.Command("dmcopy", "copy", newFile(t, 4096), filepath.Join(t.TempDir(), "new"))
	var says strings.Builder
	cmd.Stdout, cmd.Stderr = full, &says
	_ = cmd.Run()
	if code := cmd.ProcessState.ExitCode(); code != 1 || !strings.Contains(says.String(), "the copy is complete, but the report could not be written") {
		t.Errorf("exit code %d: %s", code, says.String())
	}
}
