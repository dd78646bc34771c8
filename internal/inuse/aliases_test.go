package inuse_test

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/internal/alias/aliastest"
	"github.com/dmcopy/dmcopy/internal/blockio/looptest"
	"github.com/dmcopy/dmcopy/internal/inuse"
	"github.com/dmcopy/dmcopy/internal/sysblock"
)

// usersAt are the users of a file of this machine.
func usersAt(t *testing.T, path string) []string {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	st := info.Sys().(*syscall.Stat_t)
	uses, err := inuse.FileUsers(sysblock.FS(""), path, fmt.Sprintf("file:%d:%d:%d", unix.Major(st.Dev), unix.Minor(st.Dev), st.Ino))
	if err != nil {
		t.Fatal(err)
	}
	return texts(uses)
}

// TestUsersByAnotherName: who uses a file uses it by whatever name.
func TestUsersByAnotherName(t *testing.T) {
	upper, _, merged := aliastest.Overlay(t)
	for _, names := range [][2]string{{upper + "/new", merged + "/new"}, {merged + "/new", upper + "/new"}} {
		if uses := usersAt(t, names[0]); len(uses) > 0 {
			t.Fatal(uses)
		}
		other := exec.Command("sh", "-c", "exec 3<>\"$1\"; echo; read -r _", "sh", names[1])
		until, err := other.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		ready, err := other.StdoutPipe()
		if err == nil {
			err = other.Start()
		}
		if err == nil {
			_, err = ready.Read(make([]byte, 1))
		}
		if err != nil {
			t.Fatal(err)
		}
		if uses := strings.Join(usersAt(t, names[0]), "; "); !strings.Contains(uses, "open for writing: process") || !strings.Contains(uses, "(sh)") {
			t.Errorf("%s: %s", names[0], uses)
		}
		if err := until.Close(); err != nil {
			t.Error(err)
		}
		_ = other.Wait() // read(1) fails at the end of its input

		t.Run("stored", func(t *testing.T) {
			loop := looptest.Attach(t, names[1], 512)
			if uses := strings.Join(usersAt(t, names[0]), "; "); !strings.Contains(uses, "is stored: "+strings.TrimPrefix(loop, "/dev/")) {
				t.Errorf("%s: %s", names[0], uses)
			}
		})
	}
}
