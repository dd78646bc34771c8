package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/dmcopy/dmcopy/internal/blockio/looptest"
)

// TestOutputIsNoEnd: nothing of the output is written over source or destination, by
// whatever name they are known, and not even why.
func TestOutputIsNoEnd(t *testing.T) {
	dir := t.TempDir()
	data := bytes.Repeat([]byte("data"), 64<<10)
	file := func(name string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	src, dst, stored := file("src"), file("dst"), file("stored")
	other := file("other")
	loop := looptest.Attach(t, stored, 512)
	for _, c := range []struct {
		to     string
		stderr bool
		args   []string
	}{
		{dst, false, []string{"copy", src, dst}},
		{dst, false, []string{"copy", "--json", src, dst}},
		{dst, true, []string{"copy", src, dst}},
		{src, false, []string{"copy", src, dst}},
		{src, false, []string{"copy", "--live-source", src, dst}},
		{src, true, []string{"copy", "--json", src, dst}},
		{loop, false, []string{"copy", src, loop}},
		{loop, true, []string{"copy", src, loop}},
		{stored, false, []string{"copy", src, loop}},
		{loop, false, []string{"plan", loop, dst}},
		{dst, false, []string{"verify", src, dst}},
	} {
		out, err := os.OpenFile(c.to, os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("dmcopy", c.args...)
		var rest bytes.Buffer
		cmd.Stdout, cmd.Stderr = out, &rest
		if c.stderr {
			cmd.Stdout, cmd.Stderr = &rest, out
		}
		err = errors.Join(cmd.Run(), out.Close())
		var exited *exec.ExitError
		if !errors.As(err, &exited) || exited.ExitCode() != 6 {
			t.Errorf("%v, output to %s: %v %s", c.args, c.to, err, &rest)
		}
		if rest.Len() == 0 && !c.stderr {
			t.Errorf("%v, output to %s: nobody is told", c.args, c.to)
		}
		for _, path := range []string{src, dst, stored} {
			if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, data) {
				t.Fatalf("%v, output to %s: %s was written to, %v", c.args, c.to, path, err)
			}
		}
	}
	report, err := os.OpenFile(other, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer report.Close()
	cmd := exec.Command("dmcopy", "copy", src, dst)
	cmd.Stdout = report
	if err := cmd.Run(); err != nil {
		t.Errorf("output to another file: %v", err)
	}
}
