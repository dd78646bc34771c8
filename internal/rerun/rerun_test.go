package rerun_test

import (
	"errors"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/dmcopy/dmcopy/internal/rerun"
)

// echo says its argument, and reads the file that it has inherited.
var echo = rerun.Role{Name: "echo", Run: func(arg string) int {
	text, err := io.ReadAll(os.NewFile(rerun.FirstFile, "inherited"))
	if err != nil {
		return 1
	}
	os.Stdout.WriteString(arg + ": " + string(text))
	return 7
}}

var unhooked error

func TestMain(m *testing.M) {
	_, unhooked = echo.Command("")
	rerun.Main(echo)
	os.Exit(m.Run())
}

// TestHelper: a helper plays its role, with its argument and its files.
func TestHelper(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	w.WriteString("inherited")
	w.Close()
	cmd, err := echo.Command("two words", r)
	if err != nil {
		t.Fatal(err)
	}
	out, _ := cmd.Output()
	if string(out) != "two words: inherited" || cmd.ProcessState.ExitCode() != 7 {
		t.Errorf("%q, %v", out, cmd.ProcessState)
	}
}

// TestUnknownRole: a program that does not know the role does not begin anew.
func TestUnknownRole(t *testing.T) {
	cmd, err := rerun.Role{Name: "other"}.Command("")
	if err != nil {
		t.Fatal(err)
	}
	if out, _ := cmd.Output(); len(out) > 0 || cmd.ProcessState.ExitCode() != 1 {
		t.Errorf("%q, %v", out, cmd.ProcessState)
	}
}

// TestNoHook: who has not called Main is not started again.
func TestNoHook(t *testing.T) {
	if !errors.Is(unhooked, rerun.ErrNoHook) || !strings.Contains(unhooked.Error(), "first in main") {
		t.Errorf("%v", unhooked)
	}
}
