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
	"time"
)

var (
	inGuest   = flag.Bool("guest", false, "also those that only a real kernel can tell, in a guest")
	only      = flag.String("only", "", "only guards that match this `expression`")
	find      = flag.Bool("find", false, "run all tests of the packages, and tell which notice, for the list")
	printOnly = flag.Bool("table", false, "print the table of docs/evidence.md, and run nothing")
)

func main() {
	flag.Parse()
	if *printOnly {
		t, err := table(".")
		if err != nil {
			fmt.Fprintln(os.Stderr, "mutants:", err)
			os.Exit(1)
		}
		fmt.Print(t)
		return
	}
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
	root, err := os.Getwd()
	if err != nil {
		return err
	}
	l, err := newLaboratory(root, chosen)
	if err != nil {
		return err
	}
	defer l.close()
	var missed []error
	for _, m := range chosen {
		began := time.Now()
		if *find {
			noticed, err := l.find(ctx, m)
			fmt.Println(m.guard+":", noticed, err)
			continue
		}
		if err := l.examine(ctx, m); err != nil {
			err = fmt.Errorf("%s: %w", m.guard, err)
			fmt.Fprintln(os.Stderr, err)
			missed = append(missed, err)
			continue
		}
		fmt.Fprintf(os.Stderr, "%s: noticed by %s, after %.0f s\n", m.guard, strings.Join(m.names(), ", "), time.Since(began).Seconds())
	}
	fmt.Fprintf(os.Stderr, "%d guards taken away, %d not noticed\n", len(chosen), len(missed))
	return errors.Join(missed...)
}

// table is that of docs/evidence.md.
func table(root string) (string, error) {
	p, err := readProgram(root)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	b.WriteString("| without | in | fails |\n|---|---|---|\n")
	for i := range mutants {
		m := &mutants[i]
		at, err := p.find(m)
		if err != nil {
			return "", err
		}
		where := ""
		if m.guest {
			where = ", in a guest"
		}
		fmt.Fprintf(&b, "| %s | `%s` | `%s`%s |\n", m.guard, at.src.file, strings.Join(m.names(), "`, `"), where)
	}
	return b.String(), nil
}

// A mutant is the program without one guard.
type mutant struct {
	guard string
	// symbol tells what the guard is part of (see program).
	symbol string
	// old is there once, and new takes its place.
	old, new string
	// in is the package whose tests are run. Each of tests has to notice: "TestA|TestB/part".
	in, tests string
	// guest tells that the tests boot one.
	guest bool
}

func (m *mutant) names() []string { return strings.Split(m.tests, "|") }

// pattern is the expression that has these tests run, and no other.
func pattern(names ...string) string {
	exprs := make([]string, len(names))
	for i, name := range names {
		exprs[i] = "^" + strings.ReplaceAll(name, "/", "$/^") + "$"
	}
	return strings.Join(exprs, "|")
}
