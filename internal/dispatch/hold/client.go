package hold

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"time"
)

// replyGrace is what a helper may take for a reply beyond the wait that was
// asked for. A helper that takes longer is given up.
const replyGrace = 5 * time.Second

// helper is a running helper process.
type helper struct {
	cmd      *exec.Cmd
	requests *os.File
	replies  *os.File

	mu    sync.Mutex // one request at a time
	lines *bufio.Reader
	// broken is why the helper was given up. Its next reply could be the one
	// to a request before.
	broken error
}

// startHelper starts this program again as a helper that reads device. With the
// directory of a cgroup it starts inside of it. With a cleanupSpec it cleans up after
// this process.
func startHelper(device *os.File, group, cleanup string) (*helper, error) {
	cmd, err := Helper.Command(cleanup, device)
	if err != nil {
		return nil, err
	}
	if group != "" {
		dir, err := os.Open(group)
		if err != nil {
			return nil, err
		}
		defer dir.Close()
		cmd.SysProcAttr.UseCgroupFD, cmd.SysProcAttr.CgroupFD = true, int(dir.Fd())
	}
	childIn, requests, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	replies, childOut, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, childIn.Close(), requests.Close())
	}
	cmd.Stdin, cmd.Stdout = childIn, childOut
	err = cmd.Start()
	err = errors.Join(err, childIn.Close(), childOut.Close())
	h := &helper{cmd: cmd, requests: requests, replies: replies, lines: bufio.NewReader(replies)}
	if err != nil {
		return nil, errors.Join(err, requests.Close(), replies.Close())
	}
	return h, nil
}

// call sends an request and waits for the reply.
func (h *helper) call(o helperRequest) (helperReply, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.broken != nil {
		return helperReply{}, h.broken
	}
	a, err := h.exchange(o)
	if err != nil {
		h.broken = fmt.Errorf("helper: %w", err)
		return helperReply{}, h.broken
	}
	if a.Errno != 0 {
		return a, a.Errno
	}
	return a, nil
}

// exchange writes a line and reads one.
func (h *helper) exchange(o helperRequest) (helperReply, error) {
	line, err := json.Marshal(o)
	if err != nil {
		return helperReply{}, err
	}
	deadline := time.Now().Add(time.Duration(o.Millis)*time.Millisecond + replyGrace)
	if err := errors.Join(h.requests.SetWriteDeadline(deadline), h.replies.SetReadDeadline(deadline)); err != nil {
		return helperReply{}, err
	}
	if _, err := h.requests.Write(append(line, '\n')); err != nil {
		return helperReply{}, err
	}
	reply, err := h.lines.ReadBytes('\n')
	if err != nil {
		return helperReply{}, err
	}
	var a helperReply
	if err := json.Unmarshal(reply, &a); err != nil {
		return helperReply{}, fmt.Errorf("reply %q: %w", reply, err)
	}
	return a, nil
}

// read starts reads and returns their numbers. When it returns, the block
// layer has got them all.
func (h *helper) read(spans []span) ([]int, error) {
	a, err := h.call(helperRequest{Read: spans})
	return a.Started, err
}

// ended waits up to timeout for the reads and tells which of them have ended.
func (h *helper) ended(ids []int, timeout time.Duration) ([]outcome, error) {
	a, err := h.call(helperRequest{Wait: ids, Millis: timeout.Milliseconds()})
	return a.Done, err
}

// close lets the helper go. It stays by itself until its last read has ended;
// close waits for it no longer than timeout.
func (h *helper) close(timeout time.Duration) error {
	err := errors.Join(h.requests.Close(), h.replies.Close())
	gone := make(chan error, 1)
	go func() { gone <- h.cmd.Wait() }()
	select {
	case waited := <-gone:
		return errors.Join(err, waited)
	case <-time.After(timeout):
		return errors.Join(err, fmt.Errorf("helper %d still has a read in flight: %w", h.cmd.Process.Pid, ErrContended))
	}
}
