package dispatch

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"github.com/dmcopy/dmcopy/internal/blockio"
)

// regular is a regular file, which other programs can lock, write to, and take away.
type regular interface {
	LockToRead() error
	LockToWrite() error
	CheckToWrite() error
	LockRange(off, n int64) error
	CheckRange(off, n int64) error
	// InPlace fails if the file has not its name or its length any more.
	InPlace() error
	// Unmodified fails if the file was written to since it was opened.
	Unmodified() error
}

// maxLocks bounds how many runs of the destination are locked one by one.
const maxLocks = 1 << 10

// fileEnds are the ends of a job that are regular files, and nil for others. A source
// that is the destination as well is none.
type fileEnds struct {
	src, dst         regular
	srcName, dstName string
	live             bool // the source may be written to
	log              *slog.Logger
}

func filesOf(job Job, opts Options) fileEnds {
	l := fileEnds{srcName: job.Src.Name, dstName: job.Dst.Name, live: opts.LiveSource, log: opts.Log}
	if job.Src.File != nil && job.Src.File.ID != storageID(job.Dst) { // what is written is locked anyway
		l.src, _ = job.Src.Device.(regular)
	}
	if job.Dst.File != nil {
		l.dst, _ = job.Dst.Device.(regular)
	}
	return l
}

func storageID(e Endpoint) string {
	if e.File == nil {
		return ""
	}
	return e.File.ID
}

// take locks both ends, the destination for the ranges, until they are closed.
func (l fileEnds) take(ranges []Range) error {
	if err := l.read(l.src, l.srcName); err != nil || l.dst == nil {
		return err
	}
	return l.write(l.dst.LockToWrite, l.dst.LockRange, ranges)
}

// check refuses what take would refuse, as far as that shows without locks.
func (l fileEnds) check(ranges []Range) error {
	if err := l.read(l.src, l.srcName); err != nil || l.dst == nil {
		return err
	}
	return l.write(l.dst.CheckToWrite, l.dst.CheckRange, ranges)
}

// write locks, or looks at, the destination as a whole, and then each of its runs.
func (l fileEnds) write(whole func() error, part func(off, n int64) error, ranges []Range) error {
	err := whole()
	for _, run := range runsOf(ranges) {
		if err != nil {
			break
		}
		err = part(run.Dst, run.Len)
	}
	return l.refuse(err, l.dstName, "is in use", "")
}

// compare locks both ends for reading.
func (l fileEnds) compare() error {
	if err := l.read(l.src, l.srcName); err != nil {
		return err
	}
	return l.read(l.dst, l.dstName)
}

func (l fileEnds) read(f regular, name string) error {
	if f == nil || l.live {
		return nil
	}
	return l.refuse(f.LockToRead(), name, "may change while it is read", ", or accept an inconsistent copy with --live-source")
}

func (l fileEnds) refuse(err error, name, what, orElse string) error {
	switch {
	case errors.Is(err, blockio.ErrNoLocks):
		l.log.Debug("nobody can lock the file", "file", name, "error", err)
		return nil
	case errors.Is(err, blockio.ErrLocked):
		why := err
		if e := (*blockio.Error)(nil); errors.As(err, &e) {
			why = e.Err
		}
		return refuse(name, what+": it is %v", "shut down the virtual machine whose disk it is, or wait for the other copy"+orElse, why)
	}
	return wrap("open", err)
}

// inPlace fails if what was written is not where it belongs any more.
func (l fileEnds) inPlace() error {
	if l.dst == nil {
		return nil
	}
	return named(l.dstName, l.dst.InPlace())
}

// unmodified fails if the source was written to while it was copied, unless that is
// accepted: then it is told.
func (l fileEnds) unmodified() error {
	if l.src == nil {
		return nil
	}
	err := l.src.Unmodified()
	changed := errors.Is(err, blockio.ErrModified) || errors.Is(err, blockio.ErrResized)
	switch err = named(l.srcName, err); {
	case changed && l.live:
		l.log.Warn("the source changed while it was copied", "error", err)
		return nil
	case changed:
		return wrap("copy", fmt.Errorf("%w: %w", ErrSourceChanged, err))
	}
	return wrap("copy", err)
}

// named calls a file as the user does.
func named(name string, err error) error {
	if e := (*blockio.Error)(nil); errors.As(err, &e) {
		return fmt.Errorf("%s: %w", name, e.Err)
	}
	return err
}

// runsOf are the runs of the destination, those that touch as one; or one that
// holds them all, if they are many.
func runsOf(ranges []Range) []Range {
	sorted := slices.SortedFunc(slices.Values(ranges), func(a, b Range) int { return cmp.Compare(a.Dst, b.Dst) })
	var runs []Range
	for _, g := range sorted {
		if n := len(runs); n > 0 && (runs[n-1].Dst+runs[n-1].Len == g.Dst || n == maxLocks) {
			runs[n-1].Len = g.Dst + g.Len - runs[n-1].Dst
			continue
		}
		runs = append(runs, g)
	}
	return runs
}
