package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/dmcopy/dmcopy/internal/dispatch/account"
	"github.com/dmcopy/dmcopy/internal/journal"
)

// halfway is a copy of files that was interrupted when half of it was done.
type halfway struct {
	dir  string
	data []byte
}

const halfSize = 1 << 20

// newHalfway copies all, and then makes it look as if half of it had been done.
func newHalfway(t *testing.T, args ...string) *halfway {
	t.Helper()
	h := &halfway{dir: t.TempDir(), data: make([]byte, 2*halfSize)}
	for i := range h.data {
		h.data[i] = byte(i*i>>7 + i>>11)
	}
	h.write(t, "src", h.data)
	if out, code := h.run(t, append([]string{"copy", "--create", "--state", "state"}, append(args, "src", "dst")...)...); code != 0 {
		t.Fatal(out)
	}
	s := h.state(t)
	s.Stage = journal.Copying
	s.Map.Put(journal.Extent{Off: halfSize, Len: halfSize, Status: journal.Pending})
	text, err := s.Encode()
	if err != nil {
		t.Fatal(err)
	}
	h.write(t, "state", text)
	f, err := os.OpenFile(h.path("dst"), os.O_WRONLY, 0)
	if err == nil {
		_, err = f.WriteAt(make([]byte, halfSize), halfSize)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func (h *halfway) path(name string) string { return filepath.Join(h.dir, name) }

func (h *halfway) write(t *testing.T, name string, data []byte) {
	t.Helper()
	if err := os.WriteFile(h.path(name), data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func (h *halfway) state(t *testing.T) *journal.State {
	t.Helper()
	s, err := journal.Read(h.path("state"))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// run runs dmcopy in the directory, and returns all that it says.
func (h *halfway) run(t *testing.T, args ...string) (out string, code int) {
	t.Helper()
	return runIn(t, h.dir, args...)
}

func runIn(t *testing.T, dir string, args ...string) (out string, code int) {
	t.Helper()
	cmd := exec.Command("dmcopy", args...)
	cmd.Dir = dir
	text, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return string(text), cmd.ProcessState.ExitCode()
}

// copied wants the copy to be whole, with half of it done again.
func (h *halfway) copied(t *testing.T, out string, code int) {
	t.Helper()
	data, err := os.ReadFile(h.path("dst"))
	if code != 0 || err != nil || !bytes.Equal(data, h.data) {
		t.Errorf("exit code %d, %v: %s", code, err, out)
	}
	var report account.Report
	if i := strings.IndexByte(out, '{'); i < 0 || json.Unmarshal([]byte(out[i:]), &report) != nil || report.Skipped != halfSize || report.Host != halfSize {
		t.Errorf("not half of it: %s", out)
	}
	if s := h.state(t); s.Stage != journal.Complete {
		t.Errorf("%+v", s)
	}
}

// TestResumeByCopy: the same command goes on.
func TestResumeByCopy(t *testing.T) {
	h := newHalfway(t)
	out, code := h.run(t, "copy", "--json", "--state", "state", "--verify", "full", "src", "./dst")
	h.copied(t, out, code)
	if !strings.Contains(out, "the copy goes on where state ends: 1.0 MiB are done") {
		t.Error(out)
	}
}

// TestResume: so does resume, from anywhere, with the flags of the copy and its
// own ones.
func TestResume(t *testing.T) {
	h := newHalfway(t, "--verify=full", "--log-level", "error", "--")
	out, code := runIn(t, "/", "resume", "--json", "--timeout=1m", "--progress", "none", h.path("state"))
	h.copied(t, out, code)
	if !strings.Contains(out, `"verified":"full"`) {
		t.Error(out)
	}
	if args := h.state(t).Command; !slices.Contains(args, "--verify=full") {
		t.Errorf("%q", args)
	}
}

// TestRestart copies all of it.
func TestRestart(t *testing.T) {
	h := newHalfway(t)
	out, code := h.run(t, "copy", "--json", "--state", "state", "--restart", "src", "dst")
	if code != 0 || !strings.Contains(out, `"bytes_skipped":0`) {
		t.Errorf("%d, %s", code, out)
	}
}

// TestResumeRefused: whatever is not as it was is told, and nothing is written.
func TestResumeRefused(t *testing.T) {
	for name, c := range map[string]struct {
		change func(t *testing.T, h *halfway)
		args   []string
		want   string
	}{
		"source written to": {func(t *testing.T, h *halfway) { h.write(t, "src", h.data) }, nil, "the source is not what it was then"},
		"another source": {func(t *testing.T, h *halfway) {
			h.write(t, "new", h.data)
			if err := os.Rename(h.path("new"), h.path("src")); err != nil {
				t.Fatal(err)
			}
		}, nil, "the source was src (file:"},
		"size":          {func(t *testing.T, h *halfway) { h.write(t, "dst", make([]byte, 4*halfSize)) }, nil, "the destination had 2097152 bytes and has now 4194304"},
		"ranges":        {func(*testing.T, *halfway) {}, []string{"--length", "1K"}, "the ranges were 0:0:2097152 and are now 0:0:1024"},
		"lost contents": {func(t *testing.T, h *halfway) { h.write(t, "dst", make([]byte, 2*halfSize)) }, nil, "does not hold what was copied before"},
		"damage":        {func(t *testing.T, h *halfway) { h.write(t, "state", []byte("# dmcopy state 1\n")) }, nil, "damaged or cut off"},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHalfway(t)
			c.change(t, h)
			before, err := os.ReadFile(h.path("dst"))
			if err != nil {
				t.Fatal(err)
			}
			out, code := h.run(t, append([]string{"copy", "--state", "state", "src", "dst"}, c.args...)...)
			after, err := os.ReadFile(h.path("dst"))
			if code != 6 || err != nil || !bytes.Equal(before, after) || !strings.Contains(out, c.want) || !strings.Contains(out, "--restart") {
				t.Errorf("exit code %d, %v: %s", code, err, out)
			}
		})
	}
}

// TestResumeOfSomethingElse: what a state file says is run only if it is a copy.
func TestResumeOfSomethingElse(t *testing.T) {
	h := newHalfway(t)
	s := h.state(t)
	for _, command := range [][]string{{"verify", "src", "dst"}, {"resume", "state"}, {"nonsense"}, {}} {
		s.Command = command
		text, err := s.Encode()
		if err != nil {
			t.Fatal(err)
		}
		h.write(t, "state", text)
		if out, code := h.run(t, "resume", "state"); code != 6 || !strings.Contains(out, "is not of a copy") {
			t.Errorf("%q: exit code %d: %s", command, code, out)
		}
	}
	s.Command, s.Directory = []string{"copy", "src", "dst"}, h.path("gone")
	text, err := s.Encode()
	if err != nil {
		t.Fatal(err)
	}
	h.write(t, "state", text)
	if out, code := h.run(t, "resume", "state"); code != 6 || !strings.Contains(out, "cannot be entered") {
		t.Errorf("exit code %d: %s", code, out)
	}
}

// TestTimeLimitSaves: a copy that runs out of time has its own exit code, and can
// go on.
func TestTimeLimitSaves(t *testing.T) {
	dir := t.TempDir()
	src := filepath.Join(dir, "src")
	if err := os.WriteFile(src, bytes.Repeat([]byte("data"), 16<<20/4), 0o600); err != nil {
		t.Fatal(err)
	}
	out, code := withTime("--timeout {time}", func(limit string) (string, int) {
		return runIn(t, dir, append([]string{"copy", "--rate", "256K", "--state", "state", src, "./new"}, strings.Fields(limit)...)...)
	})
	if code != 3 || !strings.Contains(out, "incomplete, state saved: dmcopy was not done within --timeout") || !strings.Contains(out, "dmcopy resume state") {
		t.Errorf("exit code %d: %s", code, out)
	}
	out, code = runIn(t, dir, "status", "state")
	if code != 0 || !strings.Contains(out, ": interrupted, begun ") || !strings.Contains(out, "  pending ") {
		t.Errorf("exit code %d: %s", code, out)
	}
}
