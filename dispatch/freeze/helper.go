package freeze

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/signal"
	"time"

	"golang.org/x/sys/unix"
)

// helperEnv marks a process as a helper, and tells it for how long it may keep the
// file system frozen.
const helperEnv = "DMCOPY_FREEZE_HELPER"

// helperFD is a directory of the file system, inherited from the parent.
const helperFD = 3

// IsHelper tells whether this process was started to keep a file system frozen.
// Programs that freeze call it first in main, and then [HelperMain].
func IsHelper() bool { return os.Getenv(helperEnv) != "" }

// HelperMain freezes, thaws, and returns the exit status.
func HelperMain() int {
	// Whoever ends a whole group of processes shall not leave it frozen.
	signal.Ignore(unix.SIGPIPE, unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT)
	limit, err := time.ParseDuration(os.Getenv(helperEnv))
	if err == nil {
		// As far as it may: memory can be short because it is frozen.
		_ = os.WriteFile("/proc/self/oom_score_adj", []byte("-1000"), 0)
		err = keep(os.Stdin, os.Stdout, descriptor(helperFD), limit)
	}
	if err != nil {
		return 1 // nobody listens any more
	}
	return 0
}

// answer is a line to the parent: one when it is frozen, or cannot be, and one
// when it is thawed.
type answer struct {
	Frozen bool `json:"frozen,omitempty"`
	// Expired tells that it was thawed because the time was over.
	Expired bool       `json:"expired,omitempty"`
	Errno   unix.Errno `json:"errno,omitempty"`
}

// keep freezes until the input ends or the limit is over. The parent has nothing
// to say: its end of the pipe is closed when it wants no more, and when it dies.
func keep(in io.Reader, out io.Writer, fs ice, limit time.Duration) error {
	replies := json.NewEncoder(out)
	if err := fs.freeze(); err != nil {
		return replies.Encode(answer{Errno: number(err)})
	}
	expiry := time.NewTimer(limit)
	defer expiry.Stop()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = io.Copy(io.Discard, in) // an error is an end as well
	}()
	// A parent that is gone by now is seen at the other pipe.
	told := replies.Encode(answer{Frozen: true})
	a := answer{}
	select {
	case <-ended:
	case <-expiry.C:
		a.Expired = true
	}
	a.Errno = number(fs.thaw())
	return errors.Join(told, replies.Encode(a))
}

// number is the errno of a call, EIO if it has none.
func number(err error) unix.Errno {
	var errno unix.Errno
	if err != nil && !errors.As(err, &errno) {
		return unix.EIO
	}
	return errno
}

// errnoOf takes the path off an error of package os.
func errnoOf(err error) error {
	var errno unix.Errno
	if errors.As(err, &errno) {
		return errno
	}
	return err
}
