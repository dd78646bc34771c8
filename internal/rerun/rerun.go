// Package rerun starts this program again, for what must not be done in the process itself:
// reads that may hang, and thawing a file system whatever happens.
package rerun

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"syscall"
)

// ErrNoHook: the program would be run again from its beginning, instead of as a helper.
var ErrNoHook = errors.New("this program cannot start itself as a helper: it does not call dispatch.Main first in main")

// Role is what a helper does.
type Role struct {
	Name string
	// Run does it, and returns the exit status. The argument is that of [Role.Command], and
	// descriptor 3 the first of the files.
	Run func(arg string) int
}

// env marks a process as a helper, and holds its role and argument.
const env = "DMCOPY_HELPER"

// FirstFile is the descriptor of the first file that a helper inherits.
const FirstFile = 3

// hooked: Main was called.
var hooked atomic.Bool

// Main is called first in main. In a process that was started as a helper it does not return.
func Main(roles ...Role) {
	name, arg, is := strings.Cut(os.Getenv(env), " ")
	if !is {
		hooked.Store(true)
		return
	}
	for _, r := range roles {
		if r.Name == name {
			os.Exit(r.Run(arg))
		}
	}
	os.Exit(1) // whoever has started this knows other roles, and reads no output
}

// Command is this program in a role, with an argument and files that it inherits. It gets no
// output of ours: it may outlive us, and whoever reads our output waits for the last one who
// could write there. Signals of a terminal are for us.
func (r Role) Command(arg string, files ...*os.File) (*exec.Cmd, error) {
	if !hooked.Load() {
		return nil, ErrNoHook
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Args[0] = "dmcopy-" + r.Name + "-helper"
	cmd.Env = append(os.Environ(), env+"="+r.Name+" "+arg)
	cmd.ExtraFiles = files
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return cmd, nil
}
