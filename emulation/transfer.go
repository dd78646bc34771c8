package emulation

import (
	"cmp"
	"context"
	"errors"
	"io"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/internal/blockio"
)

// maxStalls bounds how often one transfer is repeated without any progress.
const maxStalls = 10

// fanOut is into how many pieces a failed transfer is cut. A device can take
// seconds for each attempt at a bad sector: 16 needs three attempts from 1 MiB
// to 512 bytes, and 40 transfers; halving would need eleven attempts.
const fanOut = 16

// move transfers p. What cannot be transferred is lost: after a media error the
// transfer is repeated in smaller pieces, so that this is no more than the bad
// blocks.
func (w *worker) move(e *end, write bool, p []byte, off int64) {
	done, err := w.transfer(e, write, p, off)
	if err == nil {
		return
	}
	p, off = p[done:], off+int64(done)
	n := int64(len(p))
	smallest := max(e.block, sectorSize)
	oneBlock := off/smallest == (off+n-1)/smallest
	if oneBlock || !IsMediaError(err) || w.ctx.Err() != nil {
		w.lose(e, write, off, n, err)
		return
	}
	w.stats.Narrowed++
	step := smallest
	for step*2*fanOut <= n {
		step *= 2
	}
	for len(p) > 0 {
		n := min(int64(len(p)), step-off%step)
		w.move(e, write, p[:n], off)
		p, off = p[n:], off+n
	}
}

// transfer moves all of p that lies on the device, in as many calls as the
// device needs for it. When it fails, it returns how much has been done, in whole
// blocks.
func (w *worker) transfer(e *end, write bool, p []byte, off int64) (int, error) {
	want := int(min(int64(len(p)), e.size-off))
	done, stalls := 0, 0
	for {
		n, err := w.calls.transfer(e, write, p[done:], off+int64(done))
		ended := errors.Is(err, io.EOF)
		if done+n >= want && (err == nil || ended) {
			return want, nil
		}
		if ended || n == 0 && err == nil {
			err = endedEarly(write)
		}
		// A transfer can only go on at a block; the rest of one is done again.
		unit := e.block
		if write {
			unit = e.unit
		}
		n &^= int(unit - 1)
		done += n
		if err != nil && !isTransient(err) {
			return done, err
		}
		if n > 0 {
			stalls = 0
			continue
		}
		if stalls++; stalls > maxStalls {
			return done, cmp.Or(err, endedEarly(write))
		}
		if errors.Is(err, unix.EAGAIN) {
			w.calls.pause(w.ctx, time.Millisecond<<stalls)
		}
	}
}

// once is one call of the device.
func (e *end) once(write bool, p []byte, off int64) (int, error) {
	if write {
		return e.WriteAt(p, off)
	}
	return e.ReadAt(p, off)
}

// endedEarly is the error of a device that transfers nothing and reports no
// error: a file that was truncated meanwhile, for one.
func endedEarly(write bool) error {
	if write {
		return io.ErrShortWrite
	}
	return io.ErrUnexpectedEOF
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

func isTransient(err error) bool {
	return errors.Is(err, unix.EINTR) || errors.Is(err, unix.EAGAIN)
}

// IsMediaError says whether an error can be that of a few sectors, so that their
// neighbours are worth another try: BLK_STS_IOERR, _MEDIUM, _PROTECTION and
// _TARGET as block/blk-core.c (blk_errors) turns them into errnos. A device that
// is gone, full, reserved or timing out is not asked thousands of times more.
func IsMediaError(err error) bool {
	return errors.Is(err, unix.EIO) || errors.Is(err, unix.ENODATA) ||
		errors.Is(err, unix.EILSEQ) || errors.Is(err, unix.EREMOTEIO)
}

// lose records that the bytes of the scope that lie in [off, off+n) of e were not
// transferred.
func (w *worker) lose(e *end, write bool, off, n int64, err error) {
	if named := (*blockio.Error)(nil); errors.As(err, &named) {
		err = named.Err // our error names the device
	}
	w.calledOff = w.calledOff || errors.Is(err, unix.ECANCELED) && w.ctx.Err() != nil
	err = inWords(e, err)
	verb, start := "read", w.scope.Dst
	if write {
		verb = "write"
	}
	if e == &w.src {
		start = w.scope.Src
	}
	from := max(off-start, 0)
	to := min(off+n-start, w.scope.Len)
	w.failures = append(w.failures, Failure{
		Op:  w.scope.skip(from).first(to - from),
		Err: &Error{verb, e.Name(), off, min(n, e.size-off), err},
	})
	w.stats.Failed += to - from
}
