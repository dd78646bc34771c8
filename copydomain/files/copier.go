package files

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"sync"
	"syscall"

	"github.com/dmcopy/dmcopy/copydomain/blocks"
	"github.com/dmcopy/dmcopy/internal/boottime"
)

// The most that one call is asked for, in bytes: neither can be called off, and
// copy_file_range counts in less than 2 GiB (MAX_RW_COUNT).
const (
	DefaultCloneBytes = 256 << 20
	DefaultCopyBytes  = 64 << 20
)

// Options of a copier. The zero value of each field means its default.
type Options struct {
	// CallBytes is the most that one call copies; whole blocks.
	CallBytes int64
	// Logger may be nil.
	Logger *slog.Logger
}

// Guard is asked for every run that a call is about to write, just before it. An
// error keeps the call, and the rest of the batch, from being made.
type Guard func(m Move) error

// Result is what became of a batch.
type Result struct {
	// Calls counts the calls that were made.
	Calls int64
	// Redo is what was not copied. Everything else was.
	Redo []Failure
}

// Copier copies from one file to another, one call at a time: the file system locks
// both files for each.
type Copier struct {
	files    Transport
	fs       FileSystem
	sameFile bool
	opt      Options

	mu      sync.Mutex
	settled bool
}

// NewCopier returns a copier for two files on one file system, as [Span] has it.
func NewCopier(files Transport, fs FileSystem, sameFile bool, opt Options) (*Copier, error) {
	if opt.Logger == nil {
		opt.Logger = slog.New(slog.DiscardHandler)
	}
	if opt.CallBytes == 0 {
		opt.CallBytes = CallBytes(fs.Method)
	}
	if fs.Method == None || fs.Block <= 0 || opt.CallBytes < int64(fs.Block) || opt.CallBytes > math.MaxInt32 || opt.CallBytes%int64(fs.Block) != 0 {
		return nil, fmt.Errorf("files: %w: calls of %d bytes in blocks of %d, %s", blocks.ErrInvalid, opt.CallBytes, fs.Block, fs.Reason)
	}
	return &Copier{files: files, fs: fs, sameFile: sameFile, opt: opt}, nil
}

// CallBytes is what one call of a method is asked for by default.
func CallBytes(m Method) int64 {
	if m == Clone {
		return DefaultCloneBytes
	}
	return DefaultCopyBytes
}

// Copy copies the moves in order, by calls none of which is begun after notAfter. An error refuses the whole batch, before any call:
// moves that overlap, or do not fit the blocks of the file system.
func (c *Copier) Copy(ctx context.Context, moves []Move, notAfter boottime.Limit, guard Guard) (Result, error) {
	if err := c.check(moves); err != nil {
		return Result{}, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	var r Result
	if err := c.settle(); err != nil {
		return r.rest(moves, judge(Move{}, err)), nil
	}
	for i, m := range moves {
		for m.Len > 0 {
			piece := Move{m.Src, m.Dst, min(m.Len, c.opt.CallBytes)}
			done, err := c.copy(ctx, piece, notAfter, guard, &r)
			if err == nil {
				m = m.after(done)
				continue
			}
			f := judge(piece.after(done), err)
			c.opt.Logger.Debug("file was not copied by its file system", "from", f.Src, "to", f.Dst, "bytes", f.Len, "reason", f.Reason, "error", err)
			var refused *guardError
			if errors.As(err, &refused) {
				return Result{}, refused.err
			}
			r.Redo = append(r.Redo, f)
			m = m.after(piece.Len)
			if f.Action != blocks.ActionEmulate {
				return r.rest(append([]Move{m}, moves[i+1:]...), f), nil
			}
		}
	}
	return r, nil
}

// rest adds what is not tried because something before it failed.
func (r Result) rest(moves []Move, why Failure) Result {
	for _, m := range moves {
		if m.Len > 0 {
			r.Redo = append(r.Redo, Failure{m, why.Action, why.Reason, why.Err})
		}
	}
	return r
}

func (m Move) after(n int64) Move { return Move{m.Src + n, m.Dst + n, m.Len - n} }

// settle flushes both files before a server copies for the first time: clients have
// copied from below what was dirty in their own caches (fs/smb/client, before Linux
// 6.8). Clone does so in the kernel (fs/remap_range.c, __generic_remap_file_range_prep).
func (c *Copier) settle() error {
	if c.settled || c.fs.Method != CopyRange {
		return nil
	}
	err := c.files.Settle()
	c.settled = err == nil
	return err
}

// guardError is the error of a guard.
type guardError struct{ err error }

func (e *guardError) Error() string { return e.err.Error() }

// copy makes the calls for one piece, and tells how much of it is done: all of it
// unless there is an error.
func (c *Copier) copy(ctx context.Context, piece Move, notAfter boottime.Limit, guard Guard, r *Result) (done int64, err error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	if err := guard(piece); err != nil {
		return 0, &guardError{err}
	}
	for done < piece.Len {
		if err := c.within(piece); err != nil {
			return done, err
		}
		n, err := c.call(piece.after(done), notAfter)
		if !errors.Is(err, boottime.ErrPassed) {
			r.Calls++
		}
		if errors.Is(err, syscall.EINTR) && ctx.Err() == nil {
			continue
		}
		if err != nil {
			return done, err
		}
		done += n
	}
	return done, nil
}

// within makes sure that a run lies within both files: none of the calls may make
// the destination longer, and beyond the end of the source they do less than they
// are asked for.
func (c *Copier) within(m Move) error {
	src, dst, err := c.files.Sizes()
	if err != nil {
		return err
	}
	if m.Src > src-m.Len || m.Dst > dst-m.Len {
		return fmt.Errorf("files: %d bytes from %d of %d to %d of %d: %w", m.Len, m.Src, src, m.Dst, dst, ErrSize)
	}
	return nil
}

// call is one call, and what it says that it has copied.
func (c *Copier) call(m Move, notAfter boottime.Limit) (int64, error) {
	if c.fs.Method == Clone {
		return m.Len, c.files.Clone(m, notAfter)
	}
	n, err := c.files.CopyRange(m, notAfter)
	switch {
	case err != nil:
		return 0, err
	case n == 0: // some kernels say so of files that they cannot copy
		return 0, ErrNoProgress
	case n < 0 || n > m.Len:
		return 0, fmt.Errorf("files: %w: %d of %d", ErrCount, n, m.Len)
	}
	return n, nil
}

// check refuses moves that make no sense, and such that could not be done in any
// order.
func (c *Copier) check(moves []Move) error {
	block := int64(c.fs.Block)
	for _, m := range moves {
		if m.Src < 0 || m.Dst < 0 || m.Len <= 0 || m.Len > math.MaxInt64-max(m.Src, m.Dst) || (m.Src|m.Dst|m.Len)%block != 0 {
			return fmt.Errorf("files: %w: %d bytes from %d to %d in blocks of %d", blocks.ErrInvalid, m.Len, m.Src, m.Dst, block)
		}
	}
	written := slices.SortedFunc(slices.Values(moves), func(a, b Move) int { return cmp.Compare(a.Dst, b.Dst) })
	for i := 1; i < len(written); i++ {
		if written[i].Dst < written[i-1].Dst+written[i-1].Len {
			return fmt.Errorf("files: byte %d is written twice: %w", written[i].Dst, blocks.ErrOverlap)
		}
	}
	if !c.sameFile {
		return nil
	}
	for _, m := range moves {
		k, _ := slices.BinarySearchFunc(written, m.Src, func(w Move, at int64) int { return cmp.Compare(w.Dst+w.Len, at+1) })
		if k < len(written) && written[k].Dst < m.Src+m.Len {
			return fmt.Errorf("files: byte %d is read and written: %w", max(m.Src, written[k].Dst), blocks.ErrOverlap)
		}
	}
	return nil
}

// Flush makes what was copied durable.
func (c *Copier) Flush() error { return c.files.Sync() }
