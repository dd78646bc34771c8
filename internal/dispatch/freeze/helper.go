package freeze

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/signal"
	"time"

	"github.com/dmcopy/dmcopy/internal/rerun"
	"golang.org/x/sys/unix"
)

// Helper keeps a file system frozen, for as long as its argument says.
var Helper = rerun.Role{Name: "freeze", Run: serve}

// serve freezes, thaws, and returns the exit status.
func serve(arg string) int {
	// Whoever ends a whole group of processes shall not leave it frozen.
	signal.Ignore(unix.SIGPIPE, unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT)
	limit, err := time.ParseDuration(arg)
	if err == nil {
		// As far as it may: memory can be short because it is frozen.
		_ = os.WriteFile("/proc/self/oom_score_adj", []byte("-1000"), 0)
		err = keep(os.Stdin, os.Stdout, descriptor(rerun.FirstFile), limit)
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
func keep(in io.Reader, out io.Writer, fs freezer, limit time.Duration) error {
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
