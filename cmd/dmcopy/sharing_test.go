package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/internal/blockio"
)

// numbered is contents of which no two places are equal.
func numbered(size int) []byte {
	data := make([]byte, 0, size+16)
	for len(data) < size {
		data = fmt.Appendf(data, "%d,", len(data))
	}
	return data[:size]
}

// Two copies write to one block of a file, each its own bytes of it.
func TestTwoCopiesShareABlock(t *testing.T) {
	const size, middle = 40000, 20003
	dir := t.TempDir()
	src, dst := filepath.Join(dir, "src"), filepath.Join(dir, "dst")
	data := numbered(size)
	if err := os.WriteFile(src, data, 0o600); err != nil {
		t.Fatal(err)
	}
	for round := range 40 {
		if err := os.WriteFile(dst, make([]byte, size), 0o600); err != nil {
			t.Fatal(err)
		}
		var both []*exec.Cmd
		for _, part := range [][2]int{{0, middle}, {middle, size - middle}} {
			cmd := exec.Command("dmcopy", "copy", "--range", fmt.Sprintf("%d:%d:%d", part[0], part[0], part[1]), src, dst)
			cmd.Stderr = os.Stderr
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			both = append(both, cmd)
		}
		for _, cmd := range both {
			if err := cmd.Wait(); err != nil {
				t.Errorf("round %d: %v: %v", round, cmd.Args, err)
			}
		}
		if got, err := os.ReadFile(dst); err != nil || !bytes.Equal(got, data) {
			t.Fatalf("round %d: wrong bytes, %v", round, err)
		}
	}
}

// Files that others have locked, as QEMU locks images and copies lock what they write.
func TestLockedFiles(t *testing.T) {
	machine := func(f *os.File) error {
		for _, at := range []int64{100, 101, 201} { // seen in /proc/locks of QEMU 10.0
			if err := unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_RDLCK, Start: at, Len: 1}); err != nil {
				return err
			}
		}
		return nil
	}
	process := func(f *os.File) error {
		return unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_WRLCK})
	}
	another := func(f *os.File) error {
		g, err := blockio.Open(f.Name(), blockio.Write)
		if err != nil {
			return err
		}
		t.Cleanup(func() { g.Close() })
		return errors.Join(g.Locks().ToWrite(), g.Locks().Range(0, 4096))
	}
	for _, c := range []struct {
		name string
		lock func(*os.File) error
		dst  bool
		args []string
		code int
	}{
		{"a machine runs on the destination", machine, true, []string{"copy"}, 6},
		{"a machine runs on the destination of a plan", machine, true, []string{"copy", "--dry-run"}, 6},
		{"a machine runs on the source", machine, false, []string{"copy"}, 6},
		{"a machine runs on the source, accepted", machine, false, []string{"copy", "--live-source"}, 0},
		{"a machine runs on what is compared", machine, true, []string{"verify"}, 6},
		{"a machine runs on what is compared, accepted", machine, true, []string{"verify", "--live-source"}, 7},
		{"somebody locks the destination", process, true, []string{"copy"}, 6},
		{"somebody locks the source", process, false, []string{"copy"}, 6},
		{"another copy writes there", another, true, []string{"copy"}, 6},
		{"another copy writes there, and a plan is made", another, true, []string{"copy", "--dry-run"}, 6},
		{"another copy writes elsewhere, and a plan is made", another, true, []string{"copy", "--dry-run", "--range", "4096:4096:4096"}, 0},
		{"another copy writes elsewhere", another, true, []string{"copy", "--range", "4096:4096:4096"}, 0},
		{"another copy writes to the source", another, false, []string{"copy"}, 6},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			src, dst := filepath.Join(dir, "src"), filepath.Join(dir, "dst")
			old := bytes.Repeat([]byte{0xdd}, 8192)
			if err := errors.Join(os.WriteFile(src, numbered(8192), 0o600), os.WriteFile(dst, old, 0o600)); err != nil {
				t.Fatal(err)
			}
			used := src
			if c.dst {
				used = dst
			}
			f, err := os.OpenFile(used, os.O_RDWR, 0)
			if err == nil {
				err = c.lock(f)
			}
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			code, _, errs := dmcopy(append(c.args, src, dst)...)
			if code != c.code || code == 6 && !strings.Contains(errs, used+" ") {
				t.Errorf("exit code %d, want %d: %s", code, c.code, errs)
			}
			// A plan of the same names the refusal, and is none.
			if c.args[0] == "copy" && !slices.Contains(c.args, "--dry-run") {
				planned, _, told := dmcopy(append(append([]string{"plan"}, c.args[1:]...), src, dst)...)
				if refused := strings.Contains(told, "copy would refuse this: "+used+" "); planned != 0 || refused != (c.code == 6) {
					t.Errorf("plan: exit code %d: %s", planned, told)
				}
			}
			if got, err := os.ReadFile(dst); err != nil || code != 0 && !bytes.Equal(got, old) {
				t.Errorf("the destination was changed, %v", err)
			}
		})
	}
	// Both ends may be one file.
	file := newFile(t, 8192)
	if code, _, errs := dmcopy("copy", "--range", "0:4096:4096", file, file); code != 0 {
		t.Errorf("within a file: %d, %s", code, errs)
	}
}
