package freeze

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

// thawPatience bounds how long thawing may take.
const thawPatience = 10 * time.Second

// Frozen is a file system that is frozen.
type Frozen struct {
	fs *FileSystem
	// letGo has the helper thaw.
	letGo func() error
	over  chan struct{}
	// How it has ended, once over is closed.
	last answer
	lost error
}

// Freeze writes back what is dirty and has writers wait, for at most limit. Writing
// back takes its time; who ends the context waits no longer, and nothing stays
// frozen. An errno in the error is that of the call: EOPNOTSUPP, if the file system
// cannot be frozen, and EBUSY, if it is already.
func (f *FileSystem) Freeze(ctx context.Context, limit time.Duration) (*Frozen, error) {
	helper, order, lines, err := f.start(limit)
	if err != nil {
		return nil, fmt.Errorf("freeze %s: %w", f.point, err)
	}
	letGo := func() error {
		if err := order.Close(); !errors.Is(err, os.ErrClosed) { // it is when the helper has ended
			return err
		}
		return nil
	}
	z := &Frozen{fs: f, letGo: sync.OnceValue(letGo), over: make(chan struct{})}
	first := make(chan error, 1)
	go z.follow(helper, lines, first)
	select {
	case err = <-first:
	case <-ctx.Done():
		err = fmt.Errorf("%w: %w", errSlow, context.Cause(ctx))
	}
	if err != nil {
		return nil, fmt.Errorf("freeze %s: %w", f.point, errors.Join(err, z.letGo()))
	}
	return z, nil
}

// start starts this program again, to freeze what its descriptor leads to.
func (f *FileSystem) start(limit time.Duration) (*exec.Cmd, io.Closer, *bufio.Reader, error) {
	cmd, err := Helper.Command(limit.String(), f.dir)
	if err != nil {
		return nil, nil, nil, err
	}
	cmd.Dir = "/"
	order, err := cmd.StdinPipe()
	if err != nil {
		return nil, nil, nil, err
	}
	replies, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return nil, nil, nil, errors.Join(err, order.Close())
	}
	return cmd, order, bufio.NewReader(replies), nil
}

// follow reads what the helper has to say to the end. The first error is that of
// freezing.
func (z *Frozen) follow(helper *exec.Cmd, lines *bufio.Reader, first chan<- error) {
	defer close(z.over)
	a, err := read(lines)
	frozen := err == nil && a.Frozen
	switch {
	case err == nil && a.Errno != 0:
		err = a.Errno
	case err == nil && !a.Frozen:
		err = errLost
	}
	first <- err
	if frozen {
		z.last, z.lost = read(lines)
	}
	if frozen && z.lost != nil {
		// Nobody else is left to do it.
		z.lost = errors.Join(z.lost, rethaw(descriptor(z.fs.dir.Fd())))
	}
	_ = helper.Wait() // what it had to say, it has said
}

// read reads one line.
func read(lines *bufio.Reader) (answer, error) {
	line, err := lines.ReadBytes('\n')
	if err != nil {
		return answer{}, fmt.Errorf("%w: %w", errLost, err)
	}
	var a answer
	if err := json.Unmarshal(line, &a); err != nil {
		return answer{}, fmt.Errorf("%w: answer %q: %w", errLost, line, err)
	}
	return a, nil
}

// rethaw thaws what a helper may have thawed before it ended.
func rethaw(fs freezer) error {
	if err := fs.thaw(); err != nil && !errors.Is(err, syscall.EINVAL) {
		return fmt.Errorf("and it is frozen still: %w", err)
	}
	return nil
}

// Thawed is closed when the file system is frozen no longer, asked for or not.
func (z *Frozen) Thawed() <-chan struct{} { return z.over }

// Thaw lets writers go on. There is no error only if the file system was frozen
// all the time, and is no longer.
func (z *Frozen) Thaw() error {
	err := z.letGo()
	select {
	case <-z.over:
		err = errors.Join(err, z.outcome())
	case <-time.After(thawPatience):
		err = errors.Join(err, errSlow)
	}
	if err != nil {
		return fmt.Errorf("thaw %s: %w", z.fs.point, err)
	}
	return nil
}

// outcome is how it has ended. Thawing what is not frozen is EINVAL
// (fs/super.c, thaw_super).
func (z *Frozen) outcome() error {
	switch {
	case z.lost != nil:
		return z.lost
	case errors.Is(z.last.Errno, syscall.EINVAL):
		return ErrThawed
	case z.last.Errno != 0:
		return z.last.Errno
	case z.last.Expired:
		return ErrExpired
	}
	return nil
}
