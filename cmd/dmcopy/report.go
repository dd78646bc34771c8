package main

import (
	"bufio"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/dispatch"
	"github.com/dmcopy/dmcopy/internal/dispatch/account"
	"github.com/dmcopy/dmcopy/internal/dispatch/failure"
)

// printReport prints what a copy did.
func (a copyCmd) printReport(r *account.Report, job dispatch.Job, warnings []string, err error) error {
	unwritten := a.writeReport(r, job, warnings, err)
	switch {
	case unwritten == nil:
		return nil
	case r.Result == account.OutcomeOK:
		return fmt.Errorf("the copy is complete, but %w: %w", errUnreported, unwritten)
	}
	return fmt.Errorf("%w: %w", errUnreported, unwritten)
}

func (a copyCmd) writeReport(r *account.Report, job dispatch.Job, warnings []string, err error) error {
	if a.json {
		if err != nil {
			r.Errors = []string{oneLine(err)}
		}
		return a.print(newReportJSON(r, job, warnings))
	}
	w := bufio.NewWriter(a.out)
	reportText(w, r, job, err)
	return w.Flush()
}

// reportJSON is the report of a copy in JSON, and what it was between.
type reportJSON struct {
	*account.Report
	Source      string   `json:"source"`
	Destination string   `json:"destination"`
	Warnings    []string `json:"warnings"`
	Version     string   `json:"version"`
	Kernel      string   `json:"kernel"`
}

func newReportJSON(r *account.Report, job dispatch.Job, warnings []string) *reportJSON {
	return &reportJSON{
		Report: r, Source: job.Src.Name, Destination: job.Dst.Name,
		Warnings: append([]string{}, warnings...), Version: buildInfo().Version, Kernel: kernelRelease(),
	}
}

// kernelRelease is what uname -r prints; "" if the kernel does not tell.
func kernelRelease() string {
	var name unix.Utsname
	if unix.Uname(&name) != nil {
		return ""
	}
	return unix.ByteSliceToString(name.Release[:])
}

func reportText(w *bufio.Writer, r *account.Report, job dispatch.Job, err error) {
	done := r.Offloaded + r.Host + r.Zeroed + r.Skipped
	elapsed := time.Duration(r.Seconds * float64(time.Second))
	head := "copied " + human(done)
	if r.Result != account.OutcomeOK {
		head = fmt.Sprintf("%s: copied %s of %s", r.Result, human(done), human(r.Total))
	}
	fmt.Fprintf(w, "%s from %s to %s in %s (%s)\n", head, shown(job.Src.Name), shown(job.Dst.Name), duration(elapsed), rate(done-r.Skipped, elapsed))
	for _, row := range []struct {
		what  string
		bytes int64
		note  string
	}{
		{"offloaded", r.Offloaded, commands(r)},
		{"host", r.Host, ""},
		{"zeroed", r.Zeroed, ""},
		{"skipped", r.Skipped, ""},
	} {
		if row.bytes > 0 || row.what == "offloaded" {
			fmt.Fprintln(w, strings.TrimRight(fmt.Sprintf("  %-10s %10s  %7s  %s", row.what, human(row.bytes), percent(row.bytes, done), row.note), " "))
		}
	}
	writeBad(w, r, job)
	if len(r.Reasons) > 0 {
		fmt.Fprintln(w, "not offloaded, because:")
		printReasons(w, r.Reasons, done)
	}
	fmt.Fprintf(w, "%s, %s of the layout, %s", plural(r.Windows, "window"), plural(r.LayoutChanges, "change"), plural(r.Fallbacks, "fallback"))
	if r.Redone > 0 {
		fmt.Fprintf(w, " (%s copied again through the host)", human(r.Redone))
	}
	if r.ReadBack > 0 {
		fmt.Fprintf(w, ", %s read back for proof", human(r.ReadBack))
	}
	fmt.Fprintf(w, ", %.1f s of CPU\n", r.CPU)
	if r.Moved > 0 || r.Recopied > 0 {
		fmt.Fprintf(w, "the source or the destination was moved: dmcopy compared %s that it had copied before, and copied %s again\n", human(r.Moved), human(r.Recopied))
	}
	if r.Postponed > 0 {
		fmt.Fprintf(w, "dmcopy was stopped or delayed, and planned %s again\n", human(r.Postponed))
	}
	if r.Backoffs > 0 {
		fmt.Fprintf(w, "dmcopy slowed down for others %s\n", plural(r.Backoffs, "time"))
	}
	if r.Frozen > 0 {
		fmt.Fprintf(w, "the file system of %s was frozen for %.1f s: the copy is consistent\n", shown(job.Src.Name), r.Frozen)
	}
	fmt.Fprintln(w, verified(r, err))
}

// writeBad lists what could not be read.
func writeBad(w *bufio.Writer, r *account.Report, job dispatch.Job) {
	if len(r.Bad) == 0 {
		return
	}
	fmt.Fprintf(w, "%s of %s could not be read (%d bytes); zeroes were written instead:\n", plural(int64(len(r.Bad)), "part"), shown(job.Src.Name), r.Failed)
	fmt.Fprintf(w, "  %14s  %14s  %14s  %s\n", "FROM", "TO", "LENGTH", "ERROR")
	for i, b := range r.Bad {
		if i == maxBadLines {
			fmt.Fprintf(w, "  and %d more\n", len(r.Bad)-i)
			break
		}
		fmt.Fprintf(w, "  %14d  %14d  %14d  %s\n", b.Src, b.Dst, b.Len, b.Why)
	}
}

// verified says how far the copy was compared, and what came of it.
func verified(r *account.Report, err error) string {
	switch words := verifiedWords[r.Verified]; {
	case errors.Is(err, failure.ErrMismatch):
		return "verified, and different: see the error"
	case r.Failed > 0 && r.Verified != account.VerifyNone:
		return words + ", except what could not be read"
	default:
		return words
	}
}

// verifiedWords say how far the copy was compared.
var verifiedWords = map[account.Verify]string{
	account.VerifyNone:   "not verified",
	account.VerifySample: "verified in samples",
	account.VerifyFull:   "verified: every byte was read back and compared",
}

// commands says which methods were used.
func commands(r *account.Report) string {
	if r.Commands == 0 {
		return ""
	}
	var methods []string
	for _, m := range slices.Sorted(maps.Keys(r.ByMethod)) {
		if m != account.Host && m != account.Zero && m != account.Skip {
			methods = append(methods, string(m))
		}
	}
	said := plural(r.Commands, "command")
	if len(methods) == 0 { // what they did was given up, and copied again or not at all
		return said + ", of which nothing counts"
	}
	return said + " (" + strings.Join(methods, ", ") + ")"
}
