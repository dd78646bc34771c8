// Command mutants takes the guards away, one at a time, and tells which test
// notices. A guard that no test misses is a guard that somebody removes one day.
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"text/tabwriter"
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
	chosen, err := regexp.Compile(*only)
	if err != nil {
		return err
	}
	root, err := os.Getwd()
	if err != nil {
		return err
	}
	out := tabwriter.NewWriter(os.Stdout, 0, 4, 2, ' ', 0)
	var missed []error
	for _, m := range mutants {
		if m.guest && !*inGuest || !chosen.MatchString(m.guard) {
			continue
		}
		failed, err := m.test(ctx, root)
		if err == nil && len(failed) == 0 {
			err = errors.New("no test fails")
		}
		if err != nil {
			err = fmt.Errorf("%s: %w", m.guard, err)
			fmt.Fprintln(os.Stderr, err)
			missed = append(missed, err)
			continue
		}
		fmt.Fprintf(os.Stderr, "%s: noticed by %s\n", m.guard, strings.Join(failed, ", "))
		fmt.Fprintf(out, "%s\t%s\t%s\n", m.guard, m.file, strings.Join(failed, " "))
	}
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

// test returns the tests that fail.
func (m *mutant) test(ctx context.Context, root string) ([]string, error) {
	dir, err := os.MkdirTemp("", "mutant-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	overlay, err := m.overlay(root, dir)
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, "go", "test", "-count=1", "-vet=off", "-json", "-timeout", "20m", "-run", m.tests, m.in)
	if usesRapid(ctx, m.in) {
		cmd.Args = append(cmd.Args, "-rapid.nofailfile") // what fails here is no case to keep
	}
	// Guests are sent programs that are built on the way.
	cmd.Env = append(os.Environ(), "GOFLAGS="+strings.TrimSpace(os.Getenv("GOFLAGS")+" -overlay="+overlay))
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return nil, err
	}
	return failures(out)
}

// usesRapid tells whether tests of a package are properties.
func usesRapid(ctx context.Context, pkg string) bool {
	out, err := exec.CommandContext(ctx, "go", "list", "-f", `{{join .TestImports " "}} {{join .XTestImports " "}}`, pkg).Output()
	return err == nil && strings.Contains(string(out), "pgregory.net/rapid")
}

// overlay writes the file without the guard, and what tells the go command so.
func (m *mutant) overlay(root, dir string) (string, error) {
	path := filepath.Join(root, m.file)
	text, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	if n := bytes.Count(text, []byte(m.old)); n != 1 {
		return "", fmt.Errorf("%s holds %d times what is to be replaced", m.file, n)
	}
	mutated := filepath.Join(dir, filepath.Base(m.file))
	list, err := json.Marshal(map[string]map[string]string{"Replace": {path: mutated}})
	if err != nil {
		return "", err
	}
	overlay := filepath.Join(dir, "overlay.json")
	return overlay, errors.Join(
		os.WriteFile(mutated, bytes.Replace(text, []byte(m.old), []byte(m.new), 1), 0o600),
		os.WriteFile(overlay, list, 0o600))
}

// failures lists the tests that failed, without those that are parts of others.
// Output without a test that passed or failed is an error, such as that of a compiler.
func failures(out []byte) ([]string, error) {
	var failed []string
	ran := false
	lines := bufio.NewScanner(bytes.NewReader(out))
	lines.Buffer(nil, 1<<24)
	for lines.Scan() {
		var event struct{ Action, Test string }
		if err := json.Unmarshal(lines.Bytes(), &event); err != nil {
			return nil, fmt.Errorf("%w: %s", err, lines.Bytes())
		}
		ran = ran || event.Test != "" && (event.Action == "pass" || event.Action == "fail")
		if event.Action == "fail" && event.Test != "" && !strings.Contains(event.Test, "/") && !slices.Contains(failed, event.Test) {
			failed = append(failed, event.Test)
		}
	}
	if !ran {
		return nil, fmt.Errorf("no test was run: %.2000s", out)
	}
	return failed, lines.Err()
}
