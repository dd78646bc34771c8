package ends

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"github.com/dmcopy/dmcopy/emulation"
	"github.com/dmcopy/dmcopy/internal/blockio"
	"github.com/dmcopy/dmcopy/internal/dispatch/byterange"
	"github.com/dmcopy/dmcopy/internal/dispatch/failure"
)

// regular is a regular file, which other programs can lock, write to, and take away.
type regular interface {
	ID() string
	Locks() blockio.Locks
	Status() *blockio.Status
	SyncName() error
}

// regularEnd is such an end, as one copy has it: other copies can have the same one open.
type regularEnd struct {
	id     string
	locks  blockio.Locks
	status *blockio.Status
	// named: its name is durable. syncName makes it so.
	named    bool
	syncName func() error
}

// regularEndOf is nil for what is no regular file.
func regularEndOf(d emulation.Device) *regularEnd {
	f, ok := d.(regular)
	if !ok {
		return nil
	}
	return &regularEnd{id: f.ID(), locks: f.Locks(), status: f.Status(), syncName: f.SyncName}
}

// maxLocks bounds how many runs of the destination are locked one by one.
const maxLocks = 1 << 10

// growing is a device or file that knows how long it is by now.
type growing interface {
	Size() int64 // when it was opened
	SizeNow() (int64, error)
}

// Files are the ends of a job that are regular files, and nil for others, and the files that
// others are stored in. A source that is the destination as well is none.
type Files struct {
	src, dst           *regularEnd
	srcBelow, dstBelow *backing
	srcSize            growing // nil if that is not known
	writeBack          func() error
	srcName, dstName   string
	live               bool // the source may be written to
	changed            bool // and was
	log                *slog.Logger
}

func FilesOf(src, dst Endpoint, live bool, log *slog.Logger) Files {
	l := Files{srcName: src.Name, dstName: dst.Name, live: live, log: log, dstBelow: backingOf(dst, log)}
	if src.mounted == nil { // else nobody writes to it until it is thawed
		l.srcBelow, l.writeBack = backingOf(src, log), src.Device.Flush
	}
	l.srcSize, _ = src.Device.(growing)
	if src.File != nil && src.File.ID != storageID(dst) { // what is written is locked anyway
		l.src = regularEndOf(src.Device)
	}
	if dst.File != nil {
		l.dst = regularEndOf(dst.Device)
	}
	return l
}

func storageID(e Endpoint) string {
	if e.File == nil {
		return ""
	}
	return e.File.ID
}

// Lock locks both ends, the destination for the ranges, until they are closed. What a
// copy that was refused has removed, before it was locked, is no end.
func (l Files) Lock(ranges []byterange.Range) error {
	if err := l.read(l.src, l.srcName); err != nil || l.dst == nil {
		return err
	}
	if err := l.write(l.dst.locks.ToWrite, l.dst.locks.Range, ranges); err != nil {
		return err
	}
	return refuseAway(l.dst, l.dstName)
}

func refuseAway(f *regularEnd, name string) error {
	if err := named(name, f.status.InPlace()); errors.Is(err, blockio.ErrAway) {
		return failure.Refuse(name, "is %v", "try again", blockio.ErrAway)
	} else if err != nil {
		return failure.During("open", err)
	}
	return nil
}

// Begin tells by the time of modification that the destination is a copy from now on, also
// one of holes only: whoever has made the file does not remove it then. From then on it is looked
// after what the destination is stored in.
func (l Files) Begin() error {
	err := named(l.dstName, l.dstBelow.begin())
	if err == nil && l.dst != nil {
		err = named(l.dstName, l.dst.status.Touch())
	}
	return failure.During("copy", err)
}

// BeginSource has it looked from now on after what the source is stored in: whoever has written
// to it before has had it written back.
func (l Files) BeginSource() error { return failure.During("copy", l.srcBelow.begin()) }

// Close lets go of what the ends are stored in.
func (l Files) Close() error { return errors.Join(l.srcBelow.Close(), l.dstBelow.Close()) }

// Guard is the destination, which is not written to any more when what it is stored in was cut off.
func (l Files) Guard(dst emulation.Device) emulation.Device {
	if l.dstBelow == nil {
		return dst
	}
	return wholeDevice{dst, l.dstBelow}
}

// CheckLocks refuses what take would refuse, as far as that shows without locks.
func (l Files) CheckLocks(ranges []byterange.Range) error {
	if err := l.read(l.src, l.srcName); err != nil || l.dst == nil {
		return err
	}
	return l.write(l.dst.locks.CheckToWrite, l.dst.locks.CheckRange, ranges)
}

// write locks, or looks at, the destination as a whole, and then each of its runs.
func (l Files) write(whole func() error, part func(off, n int64) error, ranges []byterange.Range) error {
	err := whole()
	for _, run := range bounded(byterange.Runs(ranges)) {
		if err != nil {
			break
		}
		err = part(run.Off, run.Len)
	}
	return l.refuse(err, l.dstName, "is in use", "")
}

// LockToRead locks both ends for reading.
func (l Files) LockToRead() error {
	if err := l.read(l.src, l.srcName); err != nil {
		return err
	}
	return l.read(l.dst, l.dstName)
}

func (l Files) read(f *regularEnd, name string) error {
	if f == nil || l.live {
		return nil
	}
	err := l.refuse(f.locks.ToRead(), name, "may change while it is read", ", or accept an inconsistent copy with --live-source")
	if err != nil {
		return err
	}
	return refuseAway(f, name)
}

func (l Files) refuse(err error, name, what, orElse string) error {
	switch {
	case errors.Is(err, blockio.ErrNoLocks):
		l.log.Debug("nobody can lock the file", "file", name, "error", err)
		return nil
	case errors.Is(err, blockio.ErrLocked):
		why := err
		if e := (*blockio.Error)(nil); errors.As(err, &e) {
			why = e.Err
		}
		return failure.Refuse(name, what+": it is %v", "shut down the virtual machine whose disk it is, or wait for the other copy"+orElse, why)
	}
	return failure.During("open", err)
}

// InPlace fails if what was written is not where it belongs any more.
func (l Files) InPlace() error {
	if l.dst == nil {
		return of(l.dstName, l.dstBelow.inPlace())
	}
	return named(l.dstName, l.dst.status.InPlace())
}

// SyncName makes the name of the destination durable, once: what was written to a file is lost with
// its name. So it does for a file that the destination is stored in.
func (l Files) SyncName() error {
	if l.dst == nil {
		return of(l.dstName, l.dstBelow.syncNames())
	}
	if l.dst.named {
		return nil
	}
	if err := named("the directory of "+l.dstName, l.dst.syncName()); err != nil {
		return fmt.Errorf("the name of the destination could not be made durable: %w", err)
	}
	l.dst.named = true
	return nil
}

// Unmodified fails if the source was written to while it was copied, unless that is
// accepted: then it is noted.
func (l *Files) Unmodified() error {
	if l.src == nil {
		return l.noteModified()
	}
	err := l.src.status.Unmodified()
	changed := errors.Is(err, blockio.ErrModified) || errors.Is(err, blockio.ErrResized)
	switch err = named(l.srcName, err); {
	case changed && l.live:
		l.changed = true
		return nil
	case changed:
		return failure.During("copy", fmt.Errorf("%w: %w", failure.ErrSourceChanged, err))
	}
	return failure.During("copy", err)
}

// noteModified notes that what the source is stored in was written to, if that is accepted.
func (l *Files) noteModified() error {
	if !l.live {
		return nil
	}
	var modified bool
	err := l.settle()
	if err == nil {
		modified, err = l.srcBelow.modified(l.dstFiles())
	}
	l.changed = l.changed || modified
	return failure.During("copy", of(l.srcName, err))
}

// settle has what was written to the source by its page cache written to what it is stored in.
func (l *Files) settle() error {
	if l.srcBelow.empty() {
		return nil
	}
	return l.writeBack()
}

// dstFiles are the IDs of the files that the copy itself writes to.
func (l *Files) dstFiles() map[string]bool {
	ids := make(map[string]bool)
	if l.dst != nil {
		ids[l.dst.id] = true
	}
	_ = l.dstBelow.each(func(f *backingFile) error { // which fails nowhere
		ids[f.ID()] = true
		return nil
	})
	return ids
}

// ModifiedSign is a sign that somebody may have written to the source.
type ModifiedSign struct {
	// What is the sign, as a sentence.
	What string
	// MaybeElsewhere: the write may have been to another part of the file that the source is stored in.
	MaybeElsewhere bool
}

// MayBeModified tells why the source may have been written to since this was asked last: its
// status has changed, which it does even if its time of modification is put back, or that of a
// file that it is stored in. It can be something else than its contents, such as its mode. Where that
// is accepted, it is not asked.
func (l *Files) MayBeModified() (*ModifiedSign, error) {
	if l.live {
		return nil, nil
	}
	if l.src == nil {
		var name string
		err := l.settle()
		if err == nil {
			name, err = l.srcBelow.written(l.dstFiles())
		}
		if name == "" {
			return nil, failure.During("copy", of(l.srcName, err))
		}
		return &ModifiedSign{name + " was written to", true}, nil
	}
	changed, err := l.src.status.Changed()
	if !changed {
		return nil, failure.During("copy", named(l.srcName, err))
	}
	return &ModifiedSign{"it was written to, and its time of modification was put back", false}, nil
}

// SourceGrowth tells by how many bytes the source is longer than what the ranges copy of it, if they were
// to reach to its end.
func (l *Files) SourceGrowth(ranges []byterange.Range) (int64, error) {
	if l.srcSize == nil || !slices.ContainsFunc(ranges, func(r byterange.Range) bool { return r.Src+r.Len == l.srcSize.Size() }) {
		return 0, nil
	}
	now, err := l.srcSize.SizeNow()
	return max(now-l.srcSize.Size(), 0), failure.During("copy", named(l.srcName, err))
}

// Changed tells whether the source was written to, as was accepted.
func (l *Files) Changed() bool { return l.changed }

// of says what an error is about.
func of(name string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", name, err)
}

// named calls a file as the user does.
func named(name string, err error) error {
	if e := (*blockio.Error)(nil); errors.As(err, &e) {
		return fmt.Errorf("%s: %w", name, e.Err)
	}
	return err
}

// bounded are the runs, of which the last one reaches to the end of all if they are many.
func bounded(runs []byterange.Run) []byterange.Run {
	if len(runs) <= maxLocks {
		return runs
	}
	last := runs[len(runs)-1]
	runs = runs[:maxLocks]
	runs[maxLocks-1].Len = last.Off + last.Len - runs[maxLocks-1].Off
	return runs
}
