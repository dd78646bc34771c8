package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/dispatch"
	"github.com/dmcopy/dmcopy/internal/dispatch/ends"
	"github.com/dmcopy/dmcopy/internal/dispatch/failure"
	"github.com/dmcopy/dmcopy/internal/dispatch/inflight"
	"github.com/dmcopy/dmcopy/internal/journal"
)

// stateFlags say where the progress of a copy is kept.
type stateFlags struct {
	file    fileFlag
	restart bool
	every   timeFlag
}

func (f *stateFlags) add(flags *pflag.FlagSet) {
	flags.Var(&f.file, "state", "record what is done in this file; if it already exists and is not complete, go on where it ends")
	flags.Var(&f.every, "state-every", "flush the destination and write the state file every `TIME`, instead of after every window")
	flags.BoolVar(&f.restart, "restart", false, "start from the beginning, whatever the state file says")
}

func (f *stateFlags) check() error {
	switch {
	case f.restart && f.file == "":
		return usage("--restart has no effect without --state")
	case f.every.set && f.file == "":
		return usage("--state-every has no effect without --state")
	}
	return nil
}

// errSaved: the copy ended early, and can go on where it ended.
var errSaved = errors.New("incomplete, state saved")

// openState opens the state file for the job, if there is to be one.
func (a copyCmd) openState(f *stateFlags, job dispatch.Job, live bool) (*journal.File, error) {
	if f.file == "" {
		return nil, nil
	}
	path := string(f.file)
	switch {
	case isEnd(path, job.Src):
		return nil, usage("--state %s: this is %s, which is to be copied", shown(path), shown(job.Src.Name))
	case isOutput(path):
		return nil, usage("--state %s: this is where the output goes, which the state would replace", shown(path))
	case isEnd(path, job.Dst):
		return nil, usage("--state %s: this is %s, which is to be overwritten", shown(path), shown(job.Dst.Name))
	}
	plan, ranges, err := ends.Describe(thisMachine, job.Src, job.Dst, job.Ranges, live)
	if err != nil {
		return nil, err
	}
	directory, err := os.Getwd()
	if err != nil {
		return nil, &failure.Refusal{Thing: "the working directory", Reason: "was removed, and the state file has to name it",
			Way: "change to another one", Kind: failure.ErrRefused}
	}
	open := journal.Open
	if f.restart {
		open = journal.OpenAnew
	}
	state, err := open(path)
	if err != nil {
		return nil, explainState(path, err)
	}
	if done, complete := state.Finished(); complete && !f.restart && turnedRound(done, plan) {
		refusal := &failure.Refusal{
			Thing: "the state file " + path, Kind: failure.ErrRefused,
			Reason: fmt.Sprintf("records a complete copy from %s to %s: this copy goes the other way, and would overwrite what was copied",
				shown(done.Source.Name), shown(done.Destination.Name)),
			Way: "swap source and destination, or, if you want that, name another state file or start again with --restart",
		}
		return nil, errors.Join(refusal, state.Close())
	}
	if f.restart || !state.Unfinished() {
		state.Begin(plan, directory, a.args)
		return state, nil
	}
	if err := state.Resume(plan, ranges); err != nil {
		return nil, errors.Join(explainState(path, err), state.Close())
	}
	a.note("the copy goes on where %s ends: %s are done", shown(path), human(state.Done()))
	return state, nil
}

// turnedRound tells whether a copy would write to the source of one that is complete.
func turnedRound(done, now journal.Plan) bool {
	return done.Source.Identity == now.Destination.Identity && done.Destination.Identity == now.Source.Identity &&
		done.Source.Identity != done.Destination.Identity
}

// explainState makes refusals of what is wrong with a state file.
func explainState(path string, err error) error {
	var about *journal.Error
	if !errors.As(err, &about) {
		return err
	}
	why := about.Err
	if named := (*fs.PathError)(nil); errors.As(why, &named) {
		why = named.Err
	}
	refusal := &failure.Refusal{Thing: "the state file " + path, Kind: failure.ErrRefused}
	const anew = "or start again with --restart"
	switch {
	case errors.Is(err, journal.ErrDiffers):
		refusal.Reason = "belongs to another copy: " + why.Error()
		refusal.Way = "give the same source, destination and ranges, " + anew
	case errors.Is(err, journal.ErrBusy):
		refusal.Reason, refusal.Way = "is "+why.Error(), "wait for it, or end it"
	case errors.Is(err, journal.ErrUnsafe):
		refusal.Reason, refusal.Way = "is "+why.Error(), "name a file of your own"
	case errors.Is(err, journal.ErrAppendOnly):
		refusal.Reason, refusal.Way = "is "+why.Error(), "name a file in another directory"
	case errors.Is(err, journal.ErrEmpty):
		refusal.Reason, refusal.Way = "is empty: "+why.Error(), "look again, or run the copy itself"
	case errors.Is(err, journal.ErrFormat):
		refusal.Reason, refusal.Way = "cannot be used: "+why.Error(), "name another file"
	case errors.Is(err, journal.ErrDamaged), errors.Is(err, journal.ErrVersion), errors.Is(err, journal.ErrTooLarge):
		refusal.Reason, refusal.Way = "cannot be used: "+why.Error(), "name another file, "+anew
	case errors.Is(err, unix.EROFS):
		refusal.Reason, refusal.Way = "cannot be written: "+why.Error(), "name a file on a file system that is not read-only"
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		refusal.Reason, refusal.Way = "cannot be written: "+why.Error(), "make room for it, or name a file elsewhere"
	case failure.TooManyFiles(err):
		refusal.Reason, refusal.Way = "cannot be opened: "+why.Error(), failure.WayOfTooManyFiles
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrPermission):
		refusal.Reason, refusal.Way = "cannot be opened: "+why.Error(), "name a file in a directory of your own"
	case errors.As(why, new(unix.Errno)):
		refusal.Reason, refusal.Way = "cannot be opened: "+why.Error(), "name another file"
	default:
		return err
	}
	return refusal
}

// closeState gives the state file up, and says how to go on with a copy that was
// begun. For a copy that is stuck it stays locked, and is not asked anything: it can
// be that which is stuck.
func (a copyCmd) closeState(state *journal.File, begun bool, err error) error {
	if state == nil {
		return nil
	}
	stuck := errors.Is(err, inflight.ErrStuck)
	if begun && err != nil && (stuck || state.Unfinished()) {
		a.note("%s keeps what is done: to go on, run the same command again, or: dmcopy resume %s",
			shown(state.Path()), failure.ShellQuote(state.Path()))
	}
	if stuck {
		return nil
	}
	return state.Close()
}

// noRoom says what to do about a file system, or a pool, that is full.
func noRoom(err error, job dispatch.Job, state string) error {
	if !errors.Is(err, unix.ENOSPC) && !errors.Is(err, unix.EDQUOT) {
		return err
	}
	var journals *journal.Error
	switch {
	case errors.As(err, &journals):
		return fmt.Errorf("the file system of the state file %s is full: make room, and run the same command again: %w", shown(state), err)
	case state != "":
		return fmt.Errorf("there is no room left for %s: make room, and go on with dmcopy resume %s: %w", shown(job.Dst.Name), failure.ShellQuote(state), err)
	}
	return fmt.Errorf("there is no room left for %s: make room, and copy again (with --state, a copy goes on where it ended): %w", shown(job.Dst.Name), err)
}

// beyondLimit says whose limit it is that a file cannot be that large.
func beyondLimit(err error, job dispatch.Job) error {
	var limit unix.Rlimit
	if !errors.Is(err, unix.EFBIG) || unix.Getrlimit(unix.RLIMIT_FSIZE, &limit) != nil || limit.Cur == unix.RLIM_INFINITY {
		return err
	}
	return fmt.Errorf("%s is larger than the files that this process may write: its limit is %d bytes (RLIMIT_FSIZE): raise it (ulimit -f unlimited), and copy again: %w",
		shown(job.Dst.Name), limit.Cur, err)
}

// full tells whether a destination has run out of room.
func full(err error) bool {
	var journals *journal.Error
	return (errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT)) && !errors.As(err, &journals)
}

// begun tells whether a state file keeps something that an earlier run has done.
func begun(path string) bool {
	if path == "" {
		return false
	}
	state, err := journal.Read(path)
	return err == nil && newStatus(state, false).Done > 0
}

// saved marks the error of a copy that can go on where it has ended.
func saved(err error) error {
	if full(err) || errors.Is(err, errTimeout) || errors.Is(err, failure.ErrUnread) || errors.Is(err, failure.ErrThawed) {
		return fmt.Errorf("%w: %w", errSaved, err)
	}
	return err
}

// absolute is a path that stays the same when the directory is changed.
func absolute(path string) (string, error) {
	if path == "" {
		return "", usage("the name of the file is empty")
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", &failure.Refusal{Thing: "the working directory", Reason: "was removed", Way: "change to another one, or give the whole path of " + shown(path), Kind: failure.ErrRefused}
	}
	return abs, nil
}
