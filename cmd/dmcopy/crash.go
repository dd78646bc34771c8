package main

import (
	"runtime/debug"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/internal/dispatch/failure"
)

// abortOnPanic keeps a crash from looking like a usage error. The runtime of Go ends the
// program with exit code 2 after a panic, a fatal error and SIGQUIT, which is what "the
// request makes no sense; nothing was written" has as well. With the level "crash" it
// ends by SIGABRT instead (runtime/panic.go, fatalthrow and fatalpanic;
// runtime/signal_unix.go, sighandler). Before this is called nothing has been written.
//
// Nothing of our memory, which holds what is copied, goes into a core file for that.
func abortOnPanic() {
	debug.SetTraceback("crash")
	_ = unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}) // lowering it is always allowed
}

// refuseSecure refuses to run with privileges that come from the file of the program:
// whoever may run it could copy any device, and the runtime keeps to exit code 2 then
// (runtime/panic.go, isSecureMode).
func refuseSecure() error {
	const atSecure = 23 // AT_SECURE (include/uapi/linux/auxvec.h)
	vector, err := unix.Auxv()
	if err != nil {
		return err
	}
	for _, entry := range vector {
		if entry[0] == atSecure && entry[1] != 0 {
			return &failure.Refusal{
				Thing: "the program file", Reason: "has privileges of its own: whoever may run it could copy any device",
				Way: "take them away (chmod ug-s, setcap -r), and run it as root", Kind: failure.ErrRefused,
			}
		}
	}
	return nil
}
