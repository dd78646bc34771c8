package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/dmcopy/dmcopy/copydomain"
	"github.com/dmcopy/dmcopy/dispatch"
	"github.com/dmcopy/dmcopy/internal/dispatch/account"
	"github.com/dmcopy/dmcopy/internal/dispatch/ends"
	"github.com/dmcopy/dmcopy/internal/dispatch/hold"
	"github.com/dmcopy/dmcopy/internal/dispatch/hostcopy"
	"github.com/dmcopy/dmcopy/internal/dispatch/inflight"
	"github.com/dmcopy/dmcopy/internal/dispatch/plan"
	"github.com/dmcopy/dmcopy/internal/journal"
)

// copyFlags are the flags of dmcopy copy; plan has most of them.
type copyFlags struct {
	rangeFlags
	state stateFlags
	rate  rateFlags
	nice  niceFlag
	layersFlag
	freeze  freezeFlags
	offload choice[plan.Policy]
	hold    choice[hold.Mode]
	verify  choice[account.Verify]
	onError choice[hostcopy.OnError]
	sparse  bool

	inFlight   int
	window     sizeFlag
	progress   choice[string]
	dryRun     bool
	liveSource bool
	create     bool
	timeout    timeFlag

	crossNamespace bool
	primeThin      bool
}

func newCopyFlags() *copyFlags {
	return &copyFlags{
		offload:  choice[plan.Policy]{plan.OffloadAuto, []plan.Policy{plan.OffloadAuto, plan.OffloadRequire, plan.OffloadNever}},
		hold:     choice[hold.Mode]{hold.Auto, []hold.Mode{hold.Auto, hold.Trust, hold.None}},
		verify:   choice[account.Verify]{account.VerifyNone, []account.Verify{account.VerifyNone, account.VerifySample, account.VerifyFull}},
		onError:  choice[hostcopy.OnError]{hostcopy.OnErrorStop, []hostcopy.OnError{hostcopy.OnErrorStop, hostcopy.OnErrorContinue}},
		progress: choice[string]{progressAuto, []string{progressAuto, progressTTY, progressPlain, progressJSON, progressNone}},
		inFlight: defaultInFlight,
		timeout:  timeout(),
		freeze:   newFreezeFlags(),
	}
}

// defaultInFlight is how many commands or transfers go on at a time.
const defaultInFlight = 8

const copyLong = `Copy SRC to DST: all of it, or ranges of it. Both are block devices by any name
or regular files; a destination file that does not exist is created with the
length of the source, for its owner alone (mode 0600), if its name has a slash
(./new) or --create is given. One that is longer than what is copied keeps what
lies behind; where the source has holes, so has the copy, whatever was there before.

What lies on one disk on both sides is copied by the disk itself, where it can,
and files on one file system by that, if it can share blocks; everything else is read and written through this machine. At the end everything
is flushed: exit code 0 means that the copy is durable.

Sizes and offsets are whole numbers of bytes, or have a suffix: s for sectors of
512 bytes, K, M, G, T, P or E for powers of 1024, also written k or KiB. Ranges have
all forms that copyfilerange(1) takes: an offset that is left out is where the range
before ended.

Safety:
  * Everything in the destination range is overwritten. There is no undo; run
    dmcopy plan, or --dry-run, to see what would happen.
  * A destination in use is refused, also by a device that shares sectors with it;
    and so is a source that is mounted read-write, or that others may write to in
    any other way: its copy would be inconsistent. --live-source accepts that.
  * --freeze freezes the file system of a mounted source until all of it was read.
    The copy is one of that moment, and whoever writes there waits: it is for short
    copies. It is thawed at the end, if dmcopy dies, and after --freeze-timeout;
    a copy that is not done by then fails. For longer ones, copy a snapshot.
  * While a disk writes below a logical volume, the layout of the volume is held:
    LVM commands and dmsetup wait for less than a second. --hold=trust takes your
    word that nobody changes the layout, --hold=none never writes below a volume.
    Where lvmlockd runs, disks write below logical volumes with --hold=trust only.
  * --enable-cross-namespace tells NVMe controllers, until the copy ends, that they
    may copy between namespaces (Set Features 16h). Meanwhile everybody who may
    write to one namespace of a controller can read the others; so they can
    after a kill -9, until the controller is reset. Newer kernels refuse it.
  * With --state FILE, a copy that was interrupted or killed, or has lost its
    machine, goes on when the same command is run again: what is in FILE is done,
    and durable. It is refused if source or destination are not what they were.
    Once the copy is complete, the same command copies again from the beginning;
    dmcopy resume leaves a complete copy alone.
  * Sectors that cannot be read end the copy. With --on-error=continue they are
    listed, zeroes are written instead, and everything else is copied; the exit code
    is 1, or 3 with --state, and the same command tries them again.
  * --rate moves half of a second's worth at a time, 64K at least, and waits after
    each for as long as it takes at that rate: the first goes at once, and with --rate 1
    the second, 18 hours later.
  * --nice pauses for a moment once a second, and looks at what others do on the disks
    below meanwhile. If there is somebody, and reads and writes take more than twice as
    long during the copy, on average (--nice=20ms: more than that), it goes on at half
    of its rate, down to 1 MiB a second; else the rate grows again, up to --rate.
  * Interrupt once (Ctrl-C) to stop when everything in flight has come back, and
    twice to stop at once. A terminal that goes away, and a pipe that nobody reads
    any more, do the same as one interrupt; nohup keeps the copy going. SIGUSR1
    prints the progress. The exit code is 130, also with --state, which keeps what is
    done; that of --timeout with --state is 3.
  * What the kernel does not give back (of a device that is suspended, without a path
    or full) is named and left behind a while after --timeout or an interrupt. The
    process itself can only be gone when the kernel lets go of it.`

func (a *app) copyCommand() *cobra.Command {
	f := newCopyFlags()
	cmd := &cobra.Command{
		Use:   "copy SRC DST",
		Short: "Copy a device, by the disks themselves where possible",
		Long:  copyLong,
		Example: `  dmcopy copy /dev/vg/home /dev/vg/home-new
  dmcopy copy --verify full /dev/nvme0n1p2 /dev/nvme0n1p3
  dmcopy copy --offload require --length 64G /dev/vg/db /dev/vg/db-clone
  dmcopy copy --range 0:1G:512M --range 4G:8G:1G vg/a vg/b
  dmcopy copy --json --progress json /dev/vg/a /dev/vg/b >report.json 2>lines.jsonl
  dmcopy copy --state /var/lib/move.state vg/a vg/b
  echo 50M >/run/rate; dmcopy copy --rate-file /run/rate vg/a vg/b
  dmcopy copy --on-error continue --state rescue.state /dev/sdb /dev/vg/rescue
  dmcopy copy --sparse disk.raw /dev/vg/vm1`,
		Args:              exactly("SRC", "DST"),
		ValidArgsFunction: completeDevices(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if f.dryRun {
				return a.planCopy(cmd.Context(), args[0], args[1], f)
			}
			return a.runCopy(cmd.Context(), args[0], args[1], f)
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	f.rangeFlags.add(flags)
	f.addPolicy(flags)
	flags.Var(&f.verify, "verify", "compare afterwards: nothing, 1 MiB of every 64, or everything")
	flags.BoolVar(&f.sparse, "sparse", false, "write runs of zeroes as zeroes of the device, where copied through this machine")
	flags.BoolVar(&f.primeThin, "prime-thin", false, "write a little to each block that a thin destination has not got yet, so that disks can copy there")
	flags.IntVar(&f.inFlight, "in-flight", defaultInFlight, "`N` commands per disk, and transfers through this machine, at a time (1 to 1024)")
	flags.Var(&f.window, "window", "copy at most this much under one hold of the layout (default 2G)")
	flags.Var(&f.onError, "on-error", "when sectors cannot be read: stop, or write zeroes instead and continue")
	f.state.add(flags)
	f.rate.add(flags)
	f.nice.add(flags)
	flags.Var(&f.progress, "progress", "how to show progress on stderr; auto: tty on a terminal, else none; json: all of stderr is JSON, an object a line")
	flags.Var(&f.timeout, "timeout", "give up after this `TIME`, such as 90s or 2h30m (default never)")
	flags.BoolVar(&f.dryRun, "dry-run", false, "check everything, print the plan, write nothing")
	a.addJSON(flags, "the report")
	return cmd
}

// layers looks through thin pools unless nothing is to be offloaded anyway.
func (f *copyFlags) layers() layersFlag {
	return layersFlag{trust: f.trust, roots: f.offload.value != plan.OffloadNever}
}

// addPolicy adds the flags that decide the plan.
func (f *copyFlags) addPolicy(flags *pflag.FlagSet) {
	flags.Var(&f.offload, "offload", "let disks copy: where possible, or everything, or nothing")
	flags.Var(&f.hold, "hold", "what holds the layout of a mapped destination")
	f.layersFlag.add(flags)
	flags.BoolVar(&f.crossNamespace, crossNamespaceFlag, false, "let NVMe controllers copy between their namespaces, for this copy")
	flags.BoolVar(&f.liveSource, "live-source", false, "accept a source that is being written to")
	flags.BoolVar(&f.create, "create", false, "make DST a new file if there is none, even where its name has no slash")
	f.freeze.add(flags)
}

const crossNamespaceFlag = "enable-cross-namespace"

// live is this machine. Controllers that do not copy between namespaces are
// treated as mode says if the flag is given.
func (f *copyFlags) live(a *app, mode copydomain.CrossNamespace) *world {
	w := a.live(f.layers())
	if f.crossNamespace {
		w.finder.CrossNamespaces(mode, a.log)
	}
	return w
}

// open are the options that the ends are opened with.
func (f *copyFlags) open() ends.OpenOptions {
	return ends.OpenOptions{LiveSource: f.liveSource, Freeze: f.freeze.on, Create: f.create}
}

// changes tells whether the source can be expected to be another one with each run.
func (f *copyFlags) changes() bool { return f.liveSource || f.freeze.on }

// options makes options of the flags.
func (f *copyFlags) options(a *app) (dispatch.Options, error) {
	const minWindow = 1 << 20
	switch {
	case f.inFlight < 1 || f.inFlight > 1024:
		return dispatch.Options{}, usage("--in-flight %d: want 1 to 1024", f.inFlight)
	case f.window.set && (f.window.bytes < minWindow || f.window.bytes%4096 != 0):
		return dispatch.Options{}, usage("--window %s: want at least 1M, in multiples of 4K", exact(f.window.bytes))
	}
	if err := f.state.check(); err != nil {
		return dispatch.Options{}, err
	}
	if err := f.freeze.check(f.liveSource); err != nil {
		return dispatch.Options{}, err
	}
	rate, err := f.rate.source(a.log)
	if err != nil {
		return dispatch.Options{}, err
	}
	return dispatch.Options{
		JournalEvery: f.state.every.value, Rate: rate, Nice: f.nice.watching(), LiveSource: f.changes(), OnError: f.onError.value,
		Offload: f.offload.value, Hold: f.hold.value, Verify: f.verify.value, Sparse: f.sparse, Prime: f.primeThin,
		Window: f.window.bytes, InFlight: f.inFlight, Waiting: a.waiting, GiveUp: a.giveUp, Log: a.log,
	}, nil
}

func (a *app) runCopy(ctx context.Context, from, to string, f *copyFlags) error {
	opts, err := f.options(a)
	if err != nil {
		return err
	}
	chosen, err := f.ranges(a.in)
	if err != nil {
		return err
	}
	ctx, cancel := deadline(ctx, f.timeout.value)
	defer cancel()
	a.copying.Store(true)
	defer a.hold()() // a file that was created
	job, err := within(ctx, fmt.Sprintf("opening of %s and %s", from, to), func() (dispatch.Job, error) {
		return a.openJob(ctx, from, to, chosen, f.open())
	})
	if err != nil {
		err = explain(ctx, f.timeout.value, err)
		if begun(string(f.state.file)) {
			err = saved(err)
		}
		return err
	}
	opts.Freeze = f.freeze.source(job.Src)
	var state *journal.File
	if err = errors.Join(a.refuseOwn(job, f), f.freeze.refuse(job, string(f.state.file))); err == nil {
		state, err = a.openState(&f.state, job, f.changes())
	}
	if err != nil {
		_, failed := job.Dst.Discard()
		return errors.Join(err, failed, job.Dst.Close(), job.Src.Close())
	}
	kept := false // something that earlier runs have done
	if state != nil {
		opts.Journal, kept = state, state.Done() > 0
	}
	w := f.live(a, copydomain.CrossEnable)
	warnings := a.warn(append(a.unseen(job), a.exhausts(w, job)...))
	a.created(job)
	report, err := a.carryOut(ctx, w, job, opts, f.progress.value)
	err = unreadableEnd(w.lostSnapshot(noRoom(beyondLimit(err, job), job, string(f.state.file)), job), job)
	warnings = append(warnings, a.warn(afterwards(report, job))...)
	if err == nil {
		warnings = append(warnings, a.warn(a.equalUUIDs(ctx, job))...)
	}
	if !errors.Is(err, inflight.ErrStuck) {
		if report == nil { // nothing was begun
			err = errors.Join(err, a.discard(job))
		}
		err = errors.Join(err, release(job, w.close))
	}
	err = errors.Join(err, a.closeState(state, report != nil, err))
	err = explain(ctx, f.timeout.value, err)
	if kept || state != nil && report != nil {
		err = saved(err)
	}
	if report == nil {
		return explainState(string(f.state.file), err)
	}
	if err != nil && report.Result == account.OutcomeOK {
		report.Result = account.OutcomeFailed
	}
	return errors.Join(err, a.printReport(report, job, warnings, err))
}

// carryOut copies and shows the progress.
func (a *app) carryOut(ctx context.Context, w *world, job dispatch.Job, opts dispatch.Options, mode string) (*account.Report, error) {
	u := newUpdater(a.term, mode)
	defer u.close()
	opts.Progress = u.update
	a.draining.Store(true)
	defer a.draining.Store(false)
	return dispatch.New(w).Copy(ctx, job, opts)
}
