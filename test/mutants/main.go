// Command mutants takes the guards away, one at a time, and tells which test
// notices. A guard that no test misses is a guard that somebody removes one day.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"strings"
	"text/tabwriter"
	"time"
)

var (
	inGuest = flag.Bool("guest", false, "also those that only a real kernel can tell, in a guest")
	only    = flag.String("only", "", "only guards that match this `expression`")
)

func main() {
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "mutants:", err)
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	expr, err := regexp.Compile(*only)
	if err != nil {
		return err
	}
	var chosen []*mutant
	for i := range mutants {
		if m := &mutants[i]; (*inGuest || !m.guest) && expr.MatchString(m.guard) {
			chosen = append(chosen, m)
		}
	}
	l, err := newLaboratory(chosen)
	if err != nil {
		return err
	}
	defer l.close()
	out := tabwriter.NewWriter(os.Stdout, 0, 4, 2, ' ', 0)
	var missed []error
	for _, m := range chosen {
		began := time.Now()
		noticed, err := l.examine(ctx, m)
		if err != nil {
			err = fmt.Errorf("%s: %w", m.guard, err)
			fmt.Fprintln(os.Stderr, err)
			missed = append(missed, err)
			continue
		}
		fmt.Fprintf(os.Stderr, "%s: noticed by %s, after %.0f s\n", m.guard, strings.Join(noticed, ", "), time.Since(began).Seconds())
		fmt.Fprintf(out, "%s\t%s\t%s\n", m.guard, m.file, strings.Join(noticed, " "))
	}
	fmt.Fprintf(os.Stderr, "%d guards taken away, %d not noticed\n", len(chosen), len(missed))
	return errors.Join(append(missed, out.Flush())...)
}

// A mutant is the program without one guard.
type mutant struct {
	guard string
	file  string // from the root of the repository
	// old is there once, and new takes its place.
	old, new string
	// in is the package whose tests are run, and tests which of them.
	in, tests string
	// guest tells that the tests boot one.
	guest bool
}
