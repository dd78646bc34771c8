package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/internal/blockio/looptest"
	"github.com/dmcopy/dmcopy/internal/dispatch/failure"
)

// TestFewFiles: however few files a command may open, it does what it is to do, or refuses that
// and says why. What is refused leaves nothing behind.
func TestFewFiles(t *testing.T) {
	a := looptest.Attach(t, newFile(t, 1<<20), 512)
	b := looptest.Attach(t, newFile(t, 1<<20), 512)
	state := filepath.Join(t.TempDir(), "state")
	if out, err := exec.Command("dmcopy", "copy", "--state", state, a, b).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, args := range []string{
		"copy f ./new", "copy --state s f ./new", "copy " + a + " " + b, "copy --verify full " + a + " " + b, "copy --ranges r f ./new",
		"plan " + a + " " + b, "verify " + a + " " + b, "map " + a, "tree " + a, "domains", "capture " + a, "status " + state, "resume " + state,
	} {
		for _, limit := range []int{4, 6, 8, 9, 10, 12, 14, 16, 20, 30, 36, 40, 64} {
			dir := t.TempDir()
			for name, text := range map[string]string{"f": strings.Repeat("data", 1<<10), "r": "0:0:512\n"} {
				if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			cmd := exec.Command("prlimit", append([]string{fmt.Sprintf("--nofile=%d", limit), "dmcopy"}, strings.Fields(args)...)...)
			cmd.Dir = dir
			out, _ := cmd.CombinedOutput()
			code := cmd.ProcessState.ExitCode()
			if code == 0 && limit > 3+spareFiles {
				continue
			}
			if code != 6 || !strings.Contains(string(out), "ulimit -n") {
				t.Errorf("%d files: %s: %d, %s", limit, args, code, out)
			}
			if left, err := os.ReadDir(dir); err != nil || len(left) != 2 {
				t.Errorf("%d files: %s: left behind: %v, %v", limit, args, left, err)
			}
		}
	}
}

// TestStarved: what could not be opened because too many files are open is refused, unless
// something was begun; both say what to do.
func TestStarved(t *testing.T) {
	for _, err := range []error{unix.EMFILE, unix.ENFILE} {
		err = &failure.Error{Op: "open", Err: &os.PathError{Op: "open", Path: "/proc/self/mountinfo", Err: err}}
		for _, begun := range []bool{false, true} {
			got := starved(err, begun)
			if want := map[bool]int{false: 6, true: 1}[begun]; exitCode(got) != want || !strings.Contains(got.Error(), "ulimit -n") {
				t.Errorf("begun %v: %d, %v", begun, exitCode(got), got)
			}
		}
	}
	for _, err := range []error{nil, unix.ENOSPC, fmt.Errorf("%w: %w", failure.ErrInterrupted, unix.EMFILE)} {
		if got := starved(err, false); got != err {
			t.Errorf("%v", got)
		}
	}
}
