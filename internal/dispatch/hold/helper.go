package hold

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"time"

	"github.com/dmcopy/dmcopy/internal/rerun"
	"golang.org/x/sys/unix"
)

// Reads that may hang as long as somebody keeps the device suspended, and
// reads that must be charged to another cgroup, are made by a helper: this
// same program, started again. A hung read then hurts nobody but the helper.

// maxReads bounds the reads in flight in one helper; maxRead is the size of
// the largest, in sectors: one page, which nothing on the way splits.
const (
	maxReads = 1024
	maxRead  = 8
)

// Helper makes the reads of an anchor. Its argument says what it cleans up after its parent, if
// anything.
var Helper = rerun.Role{Name: "hold", Run: serveParent}

// serveParent serves the parent until it closes the pipe, and returns the exit
// status. The device is inherited, so that nobody can put another one under the name.
func serveParent(arg string) int {
	signal.Ignore(unix.SIGPIPE) // a parent that was killed is no reason to leave the reads alone
	w, err := serve(os.Stdin, os.Stdout, rerun.FirstFile)
	// Probes may hang behind somebody who waits for reads that last for minutes: these first.
	err = errors.Join(err, cleanUp(arg, expiry))
	if w != nil {
		err = errors.Join(err, w.drain())
	}
	if err != nil {
		return 1 // nobody listens any more
	}
	return 0
}

// helperRequest is a line from the parent: start reads, or wait for reads.
type helperRequest struct {
	Read []span `json:"read,omitempty"`
	Wait []int  `json:"wait,omitempty"`
	// Millis bounds the wait; 0 looks without waiting.
	Millis int64 `json:"ms,omitempty"`
}

// span is a run of bytes of the device.
type span struct {
	Offset int64 `json:"offset"`
	Length int   `json:"length"`
}

// helperReply is a line to the parent.
type helperReply struct {
	// Started are the numbers of the reads that a request began.
	Started []int `json:"started,omitempty"`
	// Done are those of the waited for that have ended.
	Done []outcome `json:"done,omitempty"`
	// Errno is set when a request could not be carried out.
	Errno unix.Errno `json:"errno,omitempty"`
}

// outcome is how a read ended: Result is a number of bytes or -errno.
type outcome struct {
	ID     int   `json:"id"`
	Result int64 `json:"result"`
}

// worker is the state of a helper.
type worker struct {
	ctx     aioContext
	fd      int
	next    int
	buffers map[int][]byte // of the reads in flight
	free    [][]byte
	ended   map[int]int64 // ended, not yet told
}

// serve carries out requests until there are no more. What is in flight then is left to the worker.
func serve(in io.Reader, out io.Writer, fd int) (*worker, error) {
	ctx, err := aioSetup(maxReads)
	if err != nil {
		return nil, fmt.Errorf("io_setup: %w", err)
	}
	w := &worker{ctx: ctx, fd: fd, buffers: make(map[int][]byte), ended: make(map[int]int64)}
	lines := bufio.NewScanner(in)
	replies := json.NewEncoder(out)
	for lines.Scan() {
		var o helperRequest
		if err := json.Unmarshal(lines.Bytes(), &o); err != nil {
			return w, fmt.Errorf("request %q: %w", lines.Bytes(), err)
		}
		if err := replies.Encode(w.handle(o)); err != nil {
			break // the parent is gone: see to the reads in flight
		}
	}
	return w, lines.Err()
}

func (w *worker) handle(o helperRequest) helperReply {
	var a helperReply
	for _, s := range o.Read {
		id, err := w.start(s)
		if err != nil {
			errors.As(err, &a.Errno)
			return a
		}
		a.Started = append(a.Started, id)
	}
	deadline := time.Now().Add(time.Duration(o.Millis) * time.Millisecond)
	if err := w.await(o.Wait, deadline); err != nil {
		errors.As(err, &a.Errno)
	}
	for _, id := range o.Wait {
		if result, ok := w.ended[id]; ok {
			a.Done = append(a.Done, outcome{id, result})
			delete(w.ended, id)
		}
	}
	return a
}

func (w *worker) start(s span) (int, error) {
	if s.Length <= 0 || s.Length > maxRead*512 || len(w.buffers) == maxReads {
		return 0, unix.EINVAL
	}
	buf, err := w.buffer()
	if err != nil {
		return 0, err
	}
	id := w.next
	if err := w.ctx.submitRead(uint64(id), w.fd, buf[:s.Length], s.Offset); err != nil {
		w.free = append(w.free, buf)
		return 0, err
	}
	w.next++
	w.buffers[id] = buf
	return id, nil
}

// buffer returns memory that is aligned for any device and outside of the
// garbage collector's reach, because the kernel writes to it.
func (w *worker) buffer() ([]byte, error) {
	if n := len(w.free); n > 0 {
		buf := w.free[n-1]
		w.free = w.free[:n-1]
		return buf, nil
	}
	return unix.Mmap(-1, 0, maxRead*512, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
}

// await collects events until all the reads have ended or the deadline is
// over. It always looks at least once.
func (w *worker) await(ids []int, deadline time.Time) error {
	for {
		least := 0
		left := time.Until(deadline)
		if left > 0 && w.pending(ids) {
			least = 1
		}
		if err := w.collect(least, max(left, 0)); err != nil {
			return err
		}
		if !w.pending(ids) || time.Now().After(deadline) {
			return nil
		}
	}
}

func (w *worker) pending(ids []int) bool {
	for _, id := range ids {
		if _, inFlight := w.buffers[id]; inFlight {
			return true
		}
	}
	return false
}

func (w *worker) collect(least int, timeout time.Duration) error {
	var events [maxReads]ioEvent
	n, err := w.ctx.events(least, events[:], timeout)
	if err != nil {
		return err
	}
	for _, ev := range events[:n] {
		id := int(ev.data)
		w.free = append(w.free, w.buffers[id])
		delete(w.buffers, id)
		w.ended[id] = ev.res
	}
	return nil
}

// drain stays until the last read has ended. When the parent was killed, this
// is what keeps the layout held for the commands that it left behind, until
// the throttle lets the reads expire.
func (w *worker) drain() error {
	for len(w.buffers) > 0 {
		if err := w.collect(1, time.Second); err != nil {
			return err
		}
	}
	return nil
}
