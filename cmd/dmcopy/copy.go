package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

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
	freeze freezeFlags
	policyFlags

	inFlight   int
	window     sizeFlag
	progress   choice[string]
	dryRun     bool
	liveSource bool
	create     bool
	timeout    timeFlag
}

// policyFlags say what may be done to copy, and what is done about what goes wrong.
type policyFlags struct {
	offload choice[plan.Policy]
	hold    choice[hold.Mode]
	verify  choice[account.Verify]
	onError choice[hostcopy.OnError]
	sparse  bool

	crossNamespace bool
	primeThin      bool
}

func newCopyFlags() *copyFlags {
	return &copyFlags{
		policyFlags: policyFlags{
			offload: choice[plan.Policy]{plan.OffloadAuto, []plan.Policy{plan.OffloadAuto, plan.OffloadRequire, plan.OffloadNever}},
			hold:    choice[hold.Mode]{hold.Auto, []hold.Mode{hold.Auto, hold.Trust, hold.None}},
			verify:  choice[account.Verify]{account.VerifyNone, []account.Verify{account.VerifyNone, account.VerifySample, account.VerifyFull}},
			onError: choice[hostcopy.OnError]{hostcopy.OnErrorStop, []hostcopy.OnError{hostcopy.OnErrorStop, hostcopy.OnErrorContinue}},
		},
		progress: choice[string]{progressAuto, []string{progressAuto, progressTTY, progressPlain, progressJSON, progressNone}},
		inFlight: defaultInFlight,
		timeout:  timeout(),
		freeze:   newFreezeFlags(),
	}
}

// defaultInFlight is how many commands or transfers go on at a time.
const defaultInFlight = 8

const copyLong = `Copy SRC to DST: all of it, or ranges of it. SRC and DST are block devices, by any
name, or regular files. If DST does not exist, and its name has a slash (./new) or you
give --create, dmcopy creates a regular file of the source's length, which only its
owner can read (mode 0600). If DST is longer than what is copied, the rest of it stays
as it was. Where a source file has holes, the copy reads as zeroes, whatever was there.

If both places of a piece are on one disk, and the disk has a copy command, the disk
copies the piece. If both are files on one file system that can share blocks, the file
system shares them. If dmcopy does not recognise a layer, cannot lock its layout, or has
not verified the disk's copy command, it copies that part through the host, as dd would:
this machine reads and writes it. At the end dmcopy flushes everything. Exit code 0 means
that the copy is durable.

Sizes and offsets are whole numbers of bytes, or have a suffix: s for sectors of 512
bytes; K, M, G, T, P or E for powers of 1024, also written k or KiB. Ranges have all the
forms that copyfilerange(1) takes. If you leave an offset out, it is where the range
before it ended.

Safety:
  * Everything in the destination range is overwritten. There is no undo. To see
    what would happen, run dmcopy plan, or use --dry-run.
  * dmcopy refuses a destination that is in use, and one that shares sectors with a
    device in use. It refuses a source that is mounted read-write, or that others may
    write to in another way: the copy would be inconsistent. --live-source accepts that.
  * --freeze freezes the file system of a mounted source until all of it was read.
    The copy is one of that moment. Whoever writes to the file system waits, so use it
    for short copies; for longer ones, copy a snapshot. The file system is thawed at
    the end, if dmcopy dies, and after --freeze-timeout. A copy that is not done by
    then fails.
  * While a disk writes below a logical volume, dmcopy holds the layout of the volume:
    LVM commands and dmsetup wait, for less than a second unless the disk is very slow.
    With --hold=trust it assumes that nobody changes the layout. With --hold=none it
    never has a disk write below a volume. Where lvmlockd runs, disks write below logical
    volumes with --hold=trust only.
  * To read a thin volume's map, dmcopy takes its pool's metadata snapshot. A pool has
    only one; if another program holds it, those volumes are copied through the host.
  * --enable-cross-namespace allows NVMe controllers to copy between their namespaces
    (Set Features 16h) until the copy ends. Meanwhile everybody who may write to one
    namespace of a controller can read the others. After a kill -9 this stays so until
    the controller is reset. Newer kernels refuse the command.
  * --state FILE makes a copy resumable. What FILE says to be done is durable. After an
    interrupt, a kill or a power cut, run the same command again, and it goes on. dmcopy
    refuses if source or destination are not what they were. Once the copy is complete,
    the same command copies again from the beginning; dmcopy resume does nothing then.
  * Sectors that cannot be read end the copy. With --on-error=continue dmcopy lists
    them, writes zeroes instead, and copies everything else. The exit code is then 1,
    or 3 with --state, and the same command tries these sectors again.
  * --rate moves half of a second's worth at a time, and at least 64K. After each it
    waits for as long as that takes at the rate. The first goes at once; with --rate 1
    the second follows 18 hours later.
  * --nice pauses once a second for a moment, to see what others do on the disks below.
    If others use them, and reads and writes take more than twice as long during the
    copy, on average (with --nice=20ms: more than 20 ms), dmcopy halves its rate, down
    to 1 MiB a second. Otherwise the rate grows again, up to --rate.
  * Interrupt once (Ctrl-C), and dmcopy stops when everything in flight has come back.
    Interrupt twice, and it stops at once. If the terminal goes away, or nobody reads
    the output any more, dmcopy stops as after one interrupt; nohup keeps it going.
    SIGUSR1 prints the progress. The exit code is 130, also with --state, which keeps
    what is done. After --timeout with --state it is 3.
  * The kernel may keep an I/O for as long as it likes: of a device that is suspended,
    full, or without a path. Some time after --timeout or an interrupt, dmcopy names
    what it waits for and leaves it behind. Until the kernel completes it, the destination
    stays locked, and the process may be unable to exit.`

// copyCmd is dmcopy copy.
type copyCmd struct{ *app }

func (a copyCmd) command() *cobra.Command {
	f := newCopyFlags()
	cmd := &cobra.Command{
		Use:   "copy SRC DST",
		Short: "Copy a device; the disks do the work where they can",
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
				return planCmd(a).planCopy(cmd.Context(), args[0], args[1], f)
			}
			return a.run(cmd.Context(), args[0], args[1], f)
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	f.rangeFlags.add(flags)
	f.addPolicy(flags)
	flags.Var(&f.verify, "verify", "after copying, read both back and compare: nothing, 1 MiB of every 64 MiB, or every byte")
	flags.BoolVar(&f.sparse, "sparse", false, "where the host copies: do not write runs of zeroes, but tell the device to zero them")
	flags.BoolVar(&f.primeThin, "prime-thin", false, "write 4 KiB to each block that a thin destination lacks, so that its pool maps the block and disks can copy there")
	flags.IntVar(&f.inFlight, "in-flight", defaultInFlight, "send `N` commands to a disk at a time, and make N transfers through the host at a time (1 to 1024)")
	flags.Var(&f.window, "window", "hold the layout for at most this much of the copy, then let others change it (default 2G)")
	flags.Var(&f.onError, "on-error", "if sectors cannot be read: stop, or write zeroes instead, list them, and continue")
	f.state.add(flags)
	f.rate.add(flags)
	f.nice.add(flags)
	flags.Var(&f.progress, "progress", "show progress on stderr; auto is tty on a terminal, else none; json makes all of stderr JSON, one object a line")
	flags.Var(&f.timeout, "timeout", "stop after this `TIME`, such as 90s or 2h30m (default never)")
	flags.BoolVar(&f.dryRun, "dry-run", false, "check everything and print the plan, but write nothing")
	a.addJSON(flags, "the report")
	return cmd
}

// layers looks through thin pools unless nothing is to be offloaded anyway.
func (f *copyFlags) layers() layersFlag {
	return layersFlag{trust: f.trust, roots: f.offload.value != plan.OffloadNever}
}

// addPolicy adds the flags that decide the plan.
func (f *copyFlags) addPolicy(flags *pflag.FlagSet) {
	flags.Var(&f.offload, "offload", "auto has disks copy what they can, require fails if that is not everything, never copies through the host")
	flags.Var(&f.hold, "hold", "while a disk writes below a volume: auto blocks layout changes, trust assumes there are none, none copies through the host")
	f.layersFlag.add(flags)
	flags.BoolVar(&f.crossNamespace, crossNamespaceFlag, false, "allow NVMe controllers to copy between their namespaces, until this copy ends")
	flags.BoolVar(&f.liveSource, "live-source", false, "accept a source that others may write to; the copy can be inconsistent")
	flags.BoolVar(&f.create, "create", false, "if DST does not exist, create it as a file, even if its name has no slash")
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
	if a.rate != nil {
		f.rate = *a.rate
	}
	rate, err := f.rate.source(a.log, a.resumed)
	if err != nil {
		return dispatch.Options{}, err
	}
	return dispatch.Options{
		Journaling: dispatch.Journaling{JournalEvery: f.state.every.value}, Pacing: dispatch.Pacing{Rate: rate, Nice: f.nice.watching()}, LiveSource: f.changes(), OnError: f.onError.value,
		Offload: f.offload.value, Hold: f.hold.value, Verify: f.verify.value, Sparse: f.sparse, Prime: f.primeThin,
		Window: f.window.bytes, InFlight: f.inFlight, Waits: dispatch.Waits{Waiting: a.waiting, GiveUp: a.giveUp}, Log: a.log,
	}, nil
}

func (a copyCmd) run(ctx context.Context, from, to string, f *copyFlags) error {
	opts, err := f.options(a.app)
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
	w := f.live(a.app, copydomain.CrossEnable)
	warnings := a.warn(slices.Concat(f.outdated(), warner(a).unseen(job), warner(a).exhausts(w, job)))
	a.created(job)
	report, err := a.carryOut(ctx, w, job, opts, f.progress.value)
	a.begun.Store(report != nil)
	err = w.explain(err, job, string(f.state.file))
	warnings = append(warnings, a.warn(afterwards(report, job))...)
	if err == nil {
		warnings = append(warnings, a.warn(warner(a).equalUUIDs(ctx, job))...)
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
func (a copyCmd) carryOut(ctx context.Context, w *world, job dispatch.Job, opts dispatch.Options, mode string) (*account.Report, error) {
	u := newUpdater(a.term, mode)
	defer u.close()
	opts.Progress = u.update
	a.draining.Store(true)
	defer a.draining.Store(false)
	report, err := dispatch.New(w).Copy(ctx, job, opts)
	if errors.Is(err, dispatch.ErrRefused) || errors.Is(err, dispatch.ErrUsage) {
		return nil, err // nothing was begun
	}
	return report, err
}
