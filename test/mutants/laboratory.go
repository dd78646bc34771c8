package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// A laboratory builds mutants and runs tests on them. Most of them are parts of one program, which is each of them in turn
// (see switches); those that a guest has to run, and those outside of functions, are built one by one.
type laboratory struct {
	root, dir string
	program   program
	switches  *switches
	overlay   string // of the program that is each of them
	// binaries are the tests of packages that were built with the overlay, and sound tells which tests pass without a mutant.
	binaries map[string]string
	sound    map[[2]string]error
}

// newLaboratory takes the root of the repository.
func newLaboratory(root string, chosen []*mutant) (l *laboratory, err error) {
	l = &laboratory{root: root, binaries: make(map[string]string), sound: make(map[[2]string]error)}
	dir, err := os.MkdirTemp("", "mutants-")
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			os.RemoveAll(dir)
		}
	}()
	l.dir = dir
	return l, l.prepare(l.choice(), chosen)
}

// prepare makes the program that is each of the mutants in turn.
func (l *laboratory) prepare(choice string, chosen []*mutant) (err error) {
	if l.program, err = readProgram(l.root); err != nil {
		return err
	}
	if l.switches, err = newSwitches(l.root, choice, l.program, chosen); err != nil {
		return err
	}
	l.overlay, err = l.writeOverlay("switches", l.switches.files)
	return err
}

func (l *laboratory) close() { os.RemoveAll(l.dir) }

// choice is the file that says which mutant the program is, if any.
func (l *laboratory) choice() string { return filepath.Join(l.dir, "choice") }

// examine returns nil if each of the tests fails without the guard, and passes with it.
func (l *laboratory) examine(ctx context.Context, m *mutant) error {
	if _, switched := l.switches.ids[m]; !switched {
		return l.examineAlone(ctx, m)
	}
	failed, err := l.without(ctx, m, pattern(m.names()...))
	if err != nil {
		return err
	}
	return errors.Join(m.missed(failed), l.sane(ctx, m))
}

// find returns which tests of the package fail without the guard, and pass with it.
func (l *laboratory) find(ctx context.Context, m *mutant) ([]string, error) {
	if _, switched := l.switches.ids[m]; !switched {
		return nil, errors.New("has to be looked for by hand")
	}
	failed, err := l.without(ctx, m, ".")
	return slices.DeleteFunc(failed, func(test string) bool {
		return strings.Contains(test, "/") || l.passes(ctx, m.in, test) != nil
	}), err
}

// without runs tests without the guard, and returns those that fail.
func (l *laboratory) without(ctx context.Context, m *mutant, tests string) ([]string, error) {
	binary, err := l.build(ctx, m.in)
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(l.choice(), []byte(strconv.Itoa(l.switches.ids[m])), 0o600); err != nil {
		return nil, err
	}
	failed, err := l.run(ctx, binary, m.in, tests)
	return failed, errors.Join(err, os.Remove(l.choice()))
}

// examineAlone is examine for a program without one guard and nothing else. What runs in a guest takes too long to be run
// with the guard as well.
func (l *laboratory) examineAlone(ctx context.Context, m *mutant) error {
	overlay, _, err := l.alone(m)
	if err != nil {
		return err
	}
	limit := "3m"
	if m.guest {
		limit = "30m"
	}
	args := []string{"test", "-count=1", "-vet=off", "-json", "-timeout", limit, "-run", pattern(m.names()...), m.in}
	failed, err := l.verdict(ctx, "", overlay, append(args, flags(ctx, m.in)...))
	if err != nil {
		return err
	}
	if m.guest {
		return m.missed(failed)
	}
	return errors.Join(m.missed(failed), l.sane(ctx, m))
}

// alone returns the overlay of a program without one guard and nothing else, and the package of the guard.
func (l *laboratory) alone(m *mutant) (overlay, pkg string, err error) {
	at, err := l.program.find(m)
	if err != nil {
		return "", "", err
	}
	overlay, err = l.writeOverlay("alone", map[string][]byte{filepath.Join(l.root, at.src.file): at.without(m, 0, len(at.src.text))})
	return overlay, "./" + filepath.Dir(at.src.file), err
}

// sane returns an error if one of the tests does not pass with the guard.
func (l *laboratory) sane(ctx context.Context, m *mutant) error {
	var errs []error
	for _, test := range m.names() {
		errs = append(errs, l.passes(ctx, m.in, test))
	}
	return errors.Join(errs...)
}

// missed returns an error if one of the tests is not among those that failed.
func (m *mutant) missed(failed []string) error {
	var errs []error
	for _, test := range m.names() {
		if !slices.Contains(failed, test) {
			errs = append(errs, fmt.Errorf("%s does not fail", test))
		}
	}
	return errors.Join(errs...)
}

// compile builds the program that is each of the mutants in turn, and those that are built one by one.
func (l *laboratory) compile(ctx context.Context, chosen []*mutant) error {
	errs := []error{l.compiles(ctx, l.overlay, "./...")}
	for _, m := range chosen {
		if _, switched := l.switches.ids[m]; switched {
			continue
		}
		overlay, pkg, err := l.alone(m)
		if err != nil {
			return err
		}
		if err := l.compiles(ctx, overlay, pkg); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", m.guard, err))
		}
	}
	return errors.Join(errs...)
}

func (l *laboratory) compiles(ctx context.Context, overlay, packages string) error {
	out, err := l.command(ctx, l.root, overlay, []string{"build", packages}).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

// build returns the tests of a package, with which the program is each of the mutants.
func (l *laboratory) build(ctx context.Context, pkg string) (string, error) {
	if path, ok := l.binaries[pkg]; ok {
		return path, nil
	}
	path := filepath.Join(l.dir, strconv.Itoa(len(l.binaries))+".test")
	cmd := l.command(ctx, "", l.overlay, []string{"test", "-c", "-vet=off", "-o", path, pkg})
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	l.binaries[pkg] = path
	return path, nil
}

// run runs tests of a package, and returns those that fail.
func (l *laboratory) run(ctx context.Context, binary, pkg, tests string) ([]string, error) {
	args := []string{"tool", "test2json", "-t", binary, "-test.v=test2json", "-test.timeout=3m", "-test.run=" + tests}
	return l.verdict(ctx, filepath.Join(l.root, pkg), l.overlay, append(args, flags(ctx, pkg)...))
}

// passes returns an error if a test fails, or does not run, without a mutant.
func (l *laboratory) passes(ctx context.Context, pkg, test string) error {
	key := [2]string{pkg, test}
	if err, known := l.sound[key]; known {
		return err
	}
	binary, err := l.build(ctx, pkg)
	if err != nil {
		return err
	}
	failed, err := l.run(ctx, binary, pkg, pattern(test))
	if err == nil && len(failed) > 0 {
		err = fmt.Errorf("%s fails with the guard, too", test)
	}
	l.sound[key] = err
	return err
}

func (l *laboratory) verdict(ctx context.Context, dir, overlay string, args []string) ([]string, error) {
	cmd := l.command(ctx, dir, overlay, args)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return nil, err
	}
	return failures(out)
}

// command is a go command of which all that it begins builds with the overlay: some tests build programs on the way.
func (l *laboratory) command(ctx context.Context, dir, overlay string, args []string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOFLAGS="+strings.TrimSpace(os.Getenv("GOFLAGS")+" -overlay="+overlay))
	return cmd
}

// flags are those of tests that are properties: what fails here is no case to keep.
func flags(ctx context.Context, pkg string) []string {
	out, err := exec.CommandContext(ctx, "go", "list", "-f", `{{join .TestImports " "}} {{join .XTestImports " "}}`, pkg).Output()
	if err != nil || !slices.Contains(strings.Fields(string(out)), "pgregory.net/rapid") {
		return nil
	}
	return []string{"-rapid.nofailfile"}
}

// writeOverlay writes files, by the names whose place they take, and returns the list that tells the go command so.
func (l *laboratory) writeOverlay(name string, files map[string][]byte) (string, error) {
	dir := filepath.Join(l.dir, name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	replace := make(map[string]string)
	for path, text := range files {
		replace[path] = filepath.Join(dir, fmt.Sprintf("%d-%s", len(replace), filepath.Base(path)))
		if err := os.WriteFile(replace[path], text, 0o600); err != nil {
			return "", err
		}
	}
	list, err := json.Marshal(map[string]map[string]string{"Replace": replace})
	if err != nil {
		return "", err
	}
	overlay := filepath.Join(dir, "overlay.json")
	return overlay, os.WriteFile(overlay, list, 0o600)
}
