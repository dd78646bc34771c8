package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"

	"github.com/spf13/cobra"

	"github.com/dmcopy/dmcopy/copydomain"
	"github.com/dmcopy/dmcopy/dispatch"
	"github.com/dmcopy/dmcopy/internal/dispatch/account"
	"github.com/dmcopy/dmcopy/internal/dispatch/byterange"
	"github.com/dmcopy/dmcopy/internal/dispatch/ends"
	"github.com/dmcopy/dmcopy/internal/dispatch/failure"
	"github.com/dmcopy/dmcopy/internal/dispatch/plan"
	"github.com/dmcopy/dmcopy/remap"
)

// planCmd is dmcopy plan.
type planCmd struct{ *app }

func (a planCmd) command() *cobra.Command {
	f := newCopyFlags()
	var stack stackFlag
	cmd := &cobra.Command{
		Use:   "plan SRC DST",
		Short: "Show what copy would do, and why",
		Long: `Show what dmcopy copy would do, without copying. For each piece, plan prints where it
is, how it would be copied, and why it would not be offloaded; then the totals.

If copy would refuse the destination, plan says so and prints the plan nevertheless;
copy --dry-run only refuses. With --stack, plan knows what is in the snapshot: what uses
the destination, and whether it is read-only or suspended, but not what is mounted.

Offsets and lengths are bytes, with a suffix (K, M, G, T) if that is exact.

To read a thin volume's map, dmcopy takes its pool's metadata snapshot for a moment.`,
		Example: `  dmcopy plan /dev/vg/home /dev/vg/home-new
  dmcopy plan --json vg/a vg/b | jq .totals
  dmcopy plan --stack stack.json vg/a vg/b`,
		Args:              exactly("SRC", "DST"),
		ValidArgsFunction: completeDevices(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if stack.given() {
				return a.planStack(cmd.Context(), args[0], args[1], f, stack)
			}
			return a.run(cmd.Context(), args[0], args[1], f)
		},
	}
	cmd.Flags().SortFlags = false
	f.rangeFlags.add(cmd.Flags())
	f.addPolicy(cmd.Flags())
	stack.add(cmd.Flags())
	a.addJSON(cmd.Flags(), "pieces and totals")
	return cmd
}

// planCopy is copy --dry-run: what copy refuses is refused.
func (a planCmd) planCopy(ctx context.Context, from, to string, f *copyFlags) error {
	return a.planWith(ctx, f, func(chosen []byterange.Range) (dispatch.Job, error) {
		return a.openDry(ctx, from, to, chosen, f)
	}, func(err error) error { return err })
}

// openDry opens what a copy would, and refuses what it would refuse.
func (a planCmd) openDry(ctx context.Context, from, to string, chosen []byterange.Range, f *copyFlags) (dispatch.Job, error) {
	opts := f.open()
	opts.Dry = true
	job, err := a.openJob(ctx, from, to, chosen, opts)
	if err != nil {
		return job, err
	}
	if err := errors.Join(copyCmd(a).refuseOwn(job, f), f.freeze.refuse(job, string(f.state.file))); err != nil {
		return job, errors.Join(err, job.Src.Close(), job.Dst.Close())
	}
	return job, nil
}

// run is plan: what copy would refuse is a warning.
func (a planCmd) run(ctx context.Context, from, to string, f *copyFlags) error {
	return a.planWith(ctx, f, func(chosen []byterange.Range) (dispatch.Job, error) {
		job, err := a.openDry(ctx, from, to, chosen, f)
		if !errors.Is(err, failure.ErrRefused) {
			return job, err
		}
		look, lookErr := openReading(ctx, from, to, chosen, ends.OpenOptions{LiveSource: true, Dry: true, Create: f.create})
		if lookErr != nil {
			return look, err
		}
		a.wouldRefuse(err)
		return look, nil
	}, a.refused)
}

// refused makes a warning of what copy would refuse because of the plan.
func (a planCmd) refused(err error) error {
	if errors.Is(err, failure.ErrRefused) || errors.Is(err, failure.ErrPolicy) {
		a.wouldRefuse(err)
		return nil
	}
	return err
}

func (a planCmd) wouldRefuse(err error) {
	a.note("copy would refuse this: %s", oneLine(err))
}

// planWith plans a job on this machine, and hands what copy would refuse
// because of the plan to refused.
func (a planCmd) planWith(ctx context.Context, f *copyFlags, open func([]byterange.Range) (dispatch.Job, error), refused func(error) error) error {
	opts, err := f.options(a.app)
	if err != nil {
		return err
	}
	chosen, err := f.ranges(a.in)
	if err != nil {
		return err
	}
	job, err := open(chosen)
	if err != nil {
		return err
	}
	w := f.live(a.app, copydomain.CrossForecast)
	engine := dispatch.New(w)
	a.warn(slices.Concat(f.outdated(), warner(a).unseen(job), warner(a).exhausts(w, job)))
	err = a.printPlan(engine.Plan(ctx, job, opts), job)
	a.forecast(w)
	if err == nil {
		err = refused(engine.Check(ctx, job, opts))
	}
	return errors.Join(unreadable(err), job.Src.Close(), job.Dst.Close(), w.close())
}

// forecast tells what copy would do before it issues commands.
func (a planCmd) forecast(w *world) {
	for _, note := range w.finder.Forecast() {
		a.note("%s", note)
	}
}

// planStack plans a job on a snapshot.
func (a planCmd) planStack(ctx context.Context, from, to string, f *copyFlags, stack stackFlag) error {
	opts, err := f.options(a.app)
	if err != nil {
		return err
	}
	chosen, err := f.ranges(a.in)
	if err != nil {
		return err
	}
	a.warn(f.outdated())
	w, err := a.world(stack, f.layersFlag)
	if err != nil {
		return err
	}
	defer w.close()
	var job dispatch.Job
	if job.Src, err = w.endpoint(ctx, from); err != nil {
		return err
	}
	if job.Dst, err = w.endpoint(ctx, to); err != nil {
		return err
	}
	if job.Ranges, err = ends.Ranges(job.Src, job.Dst, chosen); err != nil {
		return err
	}
	for _, why := range w.refusals(job.Src.Dev, job.Dst.Dev) {
		a.note("copy would refuse this: %s", why)
	}
	engine := dispatch.New(w)
	if err := a.printPlan(engine.Plan(ctx, job, opts), job); err != nil {
		return err
	}
	return a.refused(engine.Check(ctx, job, opts))
}

// totals sum up a plan.
type totals struct {
	Total     int64                    `json:"bytes_total"`
	Offloaded int64                    `json:"bytes_offloaded"`
	Host      int64                    `json:"bytes_host"`
	Zeroed    int64                    `json:"bytes_zeroed"`
	Skipped   int64                    `json:"bytes_skipped"`
	Pieces    int64                    `json:"pieces"`
	ByMethod  map[account.Method]int64 `json:"by_method"`
	Reasons   []account.ReasonBytes    `json:"reasons"`

	byReason map[remap.Reason]int64
}

func newTotals() *totals {
	return &totals{ByMethod: make(map[account.Method]int64), byReason: make(map[remap.Reason]int64)}
}

func (t *totals) add(s *plan.Step) {
	t.Pieces++
	t.Total += s.Len
	t.ByMethod[s.Method] += s.Len
	if s.Reason != "" {
		t.byReason[s.Reason] += s.Len
	}
	switch s.Method {
	case account.Host:
		t.Host += s.Len
	case account.Zero:
		t.Zeroed += s.Len
	case account.Skip:
		t.Skipped += s.Len
	default:
		t.Offloaded += s.Len
	}
}

// close lists the reasons, the most bytes first.
func (t *totals) close() {
	t.Reasons = []account.ReasonBytes{}
	for _, why := range slices.Sorted(maps.Keys(t.byReason)) {
		t.Reasons = append(t.Reasons, account.ReasonBytes{Reason: why, Bytes: t.byReason[why]})
	}
	slices.SortStableFunc(t.Reasons, func(a, b account.ReasonBytes) int { return cmp.Compare(b.Bytes, a.Bytes) })
}

func (a planCmd) printPlan(steps iter.Seq2[*plan.Step, error], job dispatch.Job) error {
	if a.json {
		a.answered.Store(true)
		return a.writeJSON(steps)
	}
	return a.writeText(steps, job)
}

// pieceJSON is a piece of a plan in JSON. What is not known is null.
type pieceJSON struct {
	SrcOffset     int64          `json:"src_offset"`
	DstOffset     int64          `json:"dst_offset"`
	Length        int64          `json:"length"`
	Method        account.Method `json:"method"`
	Reason        remap.Reason   `json:"reason"`
	SrcLeaf       *string        `json:"src_leaf"`
	SrcLeafOffset *int64         `json:"src_leaf_offset"`
	DstLeaf       *string        `json:"dst_leaf"`
	DstLeafOffset *int64         `json:"dst_leaf_offset"`
	Domain        string         `json:"domain"`
}

func newPieceJSON(s *plan.Step) *pieceJSON {
	p := &pieceJSON{
		SrcOffset: s.SrcOff, DstOffset: s.DstOff, Length: s.Len, Method: s.Method, Reason: s.Reason, Domain: s.Domain,
	}
	if s.SrcLeaf != nil {
		p.SrcLeaf, p.SrcLeafOffset = &s.SrcLeaf.Name, &s.SrcLeafOff
	}
	if s.DstLeaf != nil {
		p.DstLeaf, p.DstLeafOffset = &s.DstLeaf.Name, &s.DstLeafOff
	}
	return p
}

func (a planCmd) writeJSON(steps iter.Seq2[*plan.Step, error]) error {
	out := newObjectWriter(a.out, struct {
		Schema int `json:"schema"`
	}{1}, "pieces")
	sum := newTotals()
	tail := struct {
		Totals *totals  `json:"totals"`
		Error  *message `json:"error,omitempty"`
	}{Totals: sum}
	var failed error
	for s, err := range steps {
		if err != nil {
			failed = err
			m := errorMessage(unreadable(err))
			tail.Error = &m
			break
		}
		sum.add(s)
		if err := out.item(newPieceJSON(s)); err != nil {
			return err
		}
	}
	sum.close()
	return errors.Join(failed, out.end(tail))
}

func (a planCmd) writeText(steps iter.Seq2[*plan.Step, error], job dispatch.Job) error {
	w := bufio.NewWriter(a.out)
	const row = "%14s  %14s  %14s  %-13s %-24s  %-24s  %s\n"
	sum := newTotals()
	for s, err := range steps {
		if err != nil {
			return errors.Join(err, w.Flush())
		}
		if sum.Pieces == 0 {
			fmt.Fprintf(w, row, "FROM", "TO", "LENGTH", "METHOD", "ON DISK", "TO DISK", "WHY NOT OFFLOADED")
		}
		sum.add(s)
		fmt.Fprintf(w, row, exact(s.SrcOff), exact(s.DstOff), exact(s.Len), s.Method,
			leafPlace(s.SrcLeaf, s.SrcLeafOff), leafPlace(s.DstLeaf, s.DstLeafOff), cmp.Or(string(s.Reason), "-"))
	}
	sum.close()
	writeTotals(w, sum, job)
	return w.Flush()
}

func leafPlace(leaf *remap.Node, off int64) string {
	if leaf == nil {
		return "-"
	}
	return line(leaf.Name) + " @ " + exact(off)
}

func writeTotals(w *bufio.Writer, t *totals, job dispatch.Job) {
	fmt.Fprintf(w, "%s from %s to %s in %s:\n", human(t.Total), shown(job.Src.Name), shown(job.Dst.Name), plural(t.Pieces, "piece"))
	for _, row := range []struct {
		what  string
		bytes int64
	}{{"offloaded", t.Offloaded}, {"host", t.Host}, {"zeroed", t.Zeroed}, {"skipped", t.Skipped}} {
		if row.bytes > 0 || row.what == "offloaded" {
			fmt.Fprintf(w, "  %-10s %10s  %7s\n", row.what, human(row.bytes), percent(row.bytes, t.Total))
		}
	}
	if len(t.Reasons) > 0 {
		fmt.Fprintln(w, "not offloaded, because:")
		printReasons(w, t.Reasons, t.Total)
	}
}
