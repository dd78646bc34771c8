package main

import (
	"context"
	"time"

	"github.com/spf13/pflag"

	"github.com/dmcopy/dmcopy/dispatch"
	"github.com/dmcopy/dmcopy/internal/dispatch/ends"
	"github.com/dmcopy/dmcopy/internal/layout"
)

// freezeFlags say whether the file system of the source is to stand still.
type freezeFlags struct {
	on    bool
	limit timeFlag
}

// defaultFreeze is for how long writers can be expected to wait.
const defaultFreeze = 30 * time.Second

func newFreezeFlags() freezeFlags { return freezeFlags{limit: timeFlag{value: defaultFreeze}} }

func (f *freezeFlags) add(flags *pflag.FlagSet) {
	flags.BoolVar(&f.on, "freeze", false, "freeze the file system of a mounted source until all of it was read; whoever writes to it waits")
	flags.Var(&f.limit, "freeze-timeout", "thaw the file system after this `TIME` at the latest; a copy that is not done by then fails")
}

func (f *freezeFlags) check(live bool) error {
	switch {
	case f.on && live:
		return usage("--freeze and --live-source exclude each other: want one of them")
	case f.limit.set && !f.on:
		return usage("--freeze-timeout has no effect without --freeze")
	case f.limit.value < time.Millisecond:
		return usage("--freeze-timeout %v: want 1ms at least", f.limit.value)
	}
	return nil
}

// source has a copy freeze its source, nil if it is not to.
func (f *freezeFlags) source(src ends.Endpoint) func(context.Context) (ends.Frozen, error) {
	if !f.on {
		return nil
	}
	return ends.FreezeSource(thisMachine, src, f.limit.value)
}

// refuse refuses to freeze what the copy needs itself.
func (f *freezeFlags) refuse(job dispatch.Job, state string) error {
	if !f.on {
		return nil
	}
	const elsewhere = "choose another place for it"
	needs := []ends.Needed{
		{What: "the root directory", Path: "/", Way: "copy a snapshot of it (lvcreate -s)", ReadOnly: true},
		{What: "dmcopy itself", Path: "/proc/self/exe", Way: "run a copy of it from somewhere else", ReadOnly: true},
		{What: "the working directory", Path: ".", Way: "run it in another directory", ReadOnly: true},
		{What: "standard output", Path: "/proc/self/fd/1", Way: elsewhere},
		{What: "standard error", Path: "/proc/self/fd/2", Way: elsewhere},
		{What: "the directory of dmcopy's notes, " + layout.DefaultState + ",", Path: layout.DefaultState,
			Way: "mount a file system of its own there, or copy a snapshot (lvcreate -s)"},
	}
	if state != "" {
		needs = append(needs, ends.Needed{What: "the state file " + state, Path: state, Way: elsewhere})
	}
	return ends.RefuseFreeze(thisMachine, job.Src, job.Dst, needs)
}
