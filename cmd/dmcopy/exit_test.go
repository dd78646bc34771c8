package main

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/dmcopy/dmcopy/internal/dispatch/ends"
	"github.com/dmcopy/dmcopy/internal/dispatch/failure"
)

func TestExitCodes(t *testing.T) {
	for _, c := range []struct {
		err  error
		want int
	}{
		{nil, 0},
		{errors.New("anything"), 1},
		{errTimeout, 1},
		{usage("wrong"), 2},
		{&failure.Refusal{Thing: "a", Reason: "b", Kind: failure.ErrUsage}, 2},
		{failure.ErrLayout, 4},
		{failure.ErrPolicy, 5},
		{&failure.Refusal{Thing: "a", Reason: "b", Kind: failure.ErrRefused}, 6},
		{&failure.Refusal{Thing: "a", Reason: "b", Kind: ends.ErrMissing}, 6},
		{failure.ErrMismatch, 7},
		{failure.ErrInterrupted, 130},
		{fmt.Errorf("copy: %w", errors.Join(failure.ErrInterrupted, errors.New("close"))), 130},
	} {
		if got := exitCode(c.err); got != c.want {
			t.Errorf("%v: %d, want %d", c.err, got, c.want)
		}
	}
}

// Every sentinel of package dispatch that ends a copy is in the table, except
// for those that mean nothing but a failure.
func TestExitTable(t *testing.T) {
	seen := make(map[int]bool)
	for _, e := range exits {
		if seen[e.code] {
			t.Errorf("code %d is there twice", e.code)
		}
		seen[e.code] = true
		if e.when != nil && exitCode(e.when) != e.code {
			t.Errorf("%v leads to %d, not to %d", e.when, exitCode(e.when), e.code)
		}
	}
	if exitCode(failure.ErrFenced) != exitFailed {
		t.Error("a fenced copy is a failed one")
	}
}

// TestExitCodesAreDocumented: docs/usage.md has a line for each code, and for no other.
func TestExitCodesAreDocumented(t *testing.T) {
	text, err := os.ReadFile("../../docs/usage.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := make(map[string]bool)
	for _, row := range regexp.MustCompile(`(?m)^\| (\d+) \| .`).FindAllStringSubmatch(string(text), -1) {
		documented[row[1]] = true
	}
	for _, e := range exits {
		if code := strconv.Itoa(e.code); !documented[code] {
			t.Errorf("code %s is not documented", code)
		} else {
			delete(documented, code)
		}
	}
	for code := range documented {
		t.Errorf("nothing leads to code %s", code)
	}
}

// Every help text ends with the whole table.
func TestExitHelp(t *testing.T) {
	var visit func(*cobra.Command)
	visit = func(cmd *cobra.Command) {
		var out strings.Builder
		cmd.Root().SetOut(&out)
		if err := cmd.Help(); err != nil {
			t.Fatal(err)
		}
		text := out.String()
		if !strings.HasSuffix(text, exitHelp()) {
			t.Errorf("%s: the help does not end with the exit codes", cmd.CommandPath())
		}
		for _, e := range exits {
			if !strings.Contains(text, strconv.Itoa(e.code)+"  "+e.text) {
				t.Errorf("%s: code %d is missing", cmd.CommandPath(), e.code)
			}
		}
		for _, sub := range cmd.Commands() {
			visit(sub)
		}
	}
	visit((&app{term: newTerminal(&strings.Builder{})}).rootCommand())
}
