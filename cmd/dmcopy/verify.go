package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/dmcopy/dmcopy/dispatch"
	"github.com/dmcopy/dmcopy/emulation"
	"github.com/dmcopy/dmcopy/internal/dispatch/ends"
	"github.com/dmcopy/dmcopy/internal/dispatch/failure"
	"github.com/dmcopy/dmcopy/internal/dispatch/inflight"
)

// verifyFlags are the flags of dmcopy verify.
type verifyFlags struct {
	rangeFlags
	inFlight   int
	progress   choice[string]
	liveSource bool
	timeout    timeFlag
}

// verifyCmd is dmcopy verify.
type verifyCmd struct{ *app }

func (a verifyCmd) command() *cobra.Command {
	f := &verifyFlags{progress: newCopyFlags().progress, timeout: timeout()}
	cmd := &cobra.Command{
		Use:   "verify SRC DST",
		Short: "Compare two devices",
		Long: `Compare SRC with DST, all of it or ranges of it, and list where they differ. verify
reads from the disks, not from the page cache, and writes nothing. Without ranges, DST
may be longer than SRC; verify does not look at the rest of it.`,
		Example: `  dmcopy verify /dev/vg/home /dev/vg/home-new
  dmcopy verify --json --length 4G vg/a vg/b`,
		Args:              exactly("SRC", "DST"),
		ValidArgsFunction: completeDevices(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.run(cmd.Context(), args[0], args[1], f)
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	f.rangeFlags.add(flags)
	flags.IntVar(&f.inFlight, "in-flight", defaultInFlight, "make `N` transfers at a time (1 to 1024)")
	flags.BoolVar(&f.liveSource, "live-source", false, "accept devices that others may write to")
	flags.Var(&f.progress, "progress", "show progress on stderr; auto is tty on a terminal, else none")
	flags.Var(&f.timeout, "timeout", "stop after this `TIME`, such as 90s or 2h30m (default never)")
	a.addJSON(flags, "the result")
	return cmd
}

func (a verifyCmd) run(ctx context.Context, from, to string, f *verifyFlags) error {
	if f.inFlight < 1 || f.inFlight > 1024 {
		return usage("--in-flight %d: want 1 to 1024", f.inFlight)
	}
	chosen, err := f.ranges(a.in)
	if err != nil {
		return err
	}
	ctx, cancel := deadline(ctx, f.timeout.value)
	defer cancel()
	job, err := within(ctx, fmt.Sprintf("opening of %s and %s", from, to), func() (dispatch.Job, error) {
		return openReading(ctx, from, to, chosen, ends.OpenOptions{LiveSource: f.liveSource})
	})
	if err != nil {
		return explain(ctx, f.timeout.value, err)
	}
	a.warn(f.outdated())
	w := a.live(layersFlag{})
	started := time.Now()
	found, err := a.compare(ctx, w, job, f)
	err = uncomparedEnd(errors.Join(err, failures(found.Failures)), job)
	if !errors.Is(err, inflight.ErrStuck) {
		err = errors.Join(err, release(job, w.close))
	}
	err = explain(ctx, f.timeout.value, err)
	if found.Read == 0 && errors.Is(err, failure.ErrRefused) { // nothing was compared
		return err
	}
	v := newVerdict(found, job, err)
	v.Seconds = time.Since(started).Seconds()
	if err == nil && v.Result == verdictDifferent {
		err = fmt.Errorf("%w: %s and %s", failure.ErrMismatch, shown(from), shown(to))
	}
	if a.json {
		return errors.Join(err, a.print(v))
	}
	return errors.Join(err, a.verdictText(v, job))
}

func (a verifyCmd) compare(ctx context.Context, w *world, job dispatch.Job, f *verifyFlags) (emulation.Comparison, error) {
	u := newUpdater(a.term, f.progress.value)
	defer u.close()
	opts := dispatch.Options{InFlight: f.inFlight, LiveSource: f.liveSource, Progress: u.update, Waits: dispatch.Waits{Waiting: a.waiting, GiveUp: a.giveUp}, Log: a.log}
	return dispatch.New(w).Verify(ctx, job, opts)
}

// maxFailures bounds how many unreadable places an error names.
const maxFailures = 8

func failures(list []emulation.Failure) error {
	var errs []error
	for i, f := range list {
		if i == maxFailures {
			errs = append(errs, fmt.Errorf("and %d more", len(list)-i))
			break
		}
		errs = append(errs, f.Err)
	}
	return errors.Join(errs...)
}

// Results of a comparison.
const (
	verdictEqual      = "equal"
	verdictDifferent  = "different"
	verdictFailed     = "failed"
	verdictIncomplete = "incomplete"
)

// verdict is the result of dmcopy verify in JSON.
type verdict struct {
	Schema     int            `json:"schema"`
	Result     string         `json:"result"`
	Total      int64          `json:"bytes_total"`
	Compared   int64          `json:"bytes_compared"`
	Mismatches []mismatchJSON `json:"mismatches"`
	// Truncated says that there are more mismatches than are listed.
	Truncated bool     `json:"truncated"`
	Seconds   float64  `json:"duration_seconds"`
	Errors    []string `json:"errors"`
}

// mismatchJSON is a run of different bytes.
type mismatchJSON struct {
	SrcOffset int64 `json:"src_offset"`
	DstOffset int64 `json:"dst_offset"`
	Length    int64 `json:"length"`
}

func newVerdict(found emulation.Comparison, job dispatch.Job, err error) *verdict {
	v := &verdict{
		Schema: 1, Result: verdictEqual, Compared: found.Read, Truncated: found.Truncated,
		Mismatches: []mismatchJSON{}, Errors: []string{},
	}
	for _, r := range job.Ranges {
		v.Total += r.Len
	}
	for _, m := range found.Mismatches {
		v.Mismatches = append(v.Mismatches, mismatchJSON{m.Src, m.Dst, m.Len})
	}
	switch {
	case err != nil:
		v.Result, v.Errors = verdictFailed, []string{oneLine(err)}
		if errors.Is(err, failure.ErrInterrupted) || errors.Is(err, errTimeout) {
			v.Result = verdictIncomplete
		}
	case len(v.Mismatches) > 0:
		v.Result = verdictDifferent
	}
	return v
}

// maxShown bounds how many mismatches are printed for people.
const maxShown = 10

func (a verifyCmd) verdictText(v *verdict, job dispatch.Job) error {
	w := bufio.NewWriter(a.out)
	elapsed := time.Duration(v.Seconds * float64(time.Second))
	fmt.Fprintf(w, "%s: compared %s of %s with %s in %s (%s)\n", v.Result, human(v.Compared), shown(job.Src.Name), shown(job.Dst.Name),
		duration(elapsed), rate(v.Compared, elapsed))
	if len(v.Mismatches) > 0 {
		fmt.Fprintf(w, "%16s  %16s  %12s\n", "SOURCE BYTE", "DEST. BYTE", "LENGTH")
	}
	for i, m := range v.Mismatches {
		if i == maxShown {
			more := plural(int64(len(v.Mismatches)-i), "more place")
			listed := "them"
			if v.Truncated {
				more, listed = "at least "+more, fmt.Sprintf("the first %d places", len(v.Mismatches))
			}
			fmt.Fprintf(w, "and %s (--json lists %s)\n", more, listed)
			break
		}
		fmt.Fprintf(w, "%16d  %16d  %12d\n", m.SrcOffset, m.DstOffset, m.Length)
	}
	return w.Flush()
}
