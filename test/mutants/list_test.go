package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// needed are the guards without which a single wrong byte is a matter of time, by the names that docs/evidence.md has
// for them, and the mutants that take them away.
var needed = map[string][]string{
	"anchor":               {"hold", "reads of the anchor", "throttle of the anchor"},
	"probe":                {"proof that an anchor is in flight", "probe of the anchor", "a read more in flight at each device than before"},
	"LVM lock":             {"lock of the volume group"},
	"compare":              {"comparison before the commands", "comparison after the commands"},
	"flush before journal": {"flush before the state is recorded", "flush of the leaves", "state: flush of the destination before the entry"},
	"invalidate":           {"dirty pages written before", "stale pages dropped afterwards"},
	"fence":                {"fence around a command of unknown fate"},
	"proof":                {"proof"},
}

func TestNeeded(t *testing.T) {
	listed := make(map[string]bool)
	for _, m := range mutants {
		listed[m.guard] = true
	}
	for name, guards := range needed {
		for _, g := range guards {
			if !listed[g] {
				t.Errorf("%s: no mutant %q", name, g)
			}
		}
	}
}

// TestEachOnce: no guard is taken away twice, and each is where the list says.
func TestEachOnce(t *testing.T) {
	p, err := readProgram("../..")
	if err != nil {
		t.Fatal(err)
	}
	guards, places := make(map[string]bool), make(map[[2]string]string)
	for i := range mutants {
		m := &mutants[i]
		key := [2]string{m.symbol, m.old}
		if guards[m.guard] {
			t.Errorf("two guards %q", m.guard)
		}
		if other, ok := places[key]; ok {
			t.Errorf("%q and %q are one guard", m.guard, other)
		}
		guards[m.guard], places[key] = true, m.guard
		if _, err := p.find(m); err != nil {
			t.Error(err)
		}
	}
}

// TestNames: what is said to notice a mutant is a test of the package, so that no other one has to be run.
func TestNames(t *testing.T) {
	for _, m := range mutants {
		files, err := filepath.Glob(filepath.Join("../..", m.in, "*_test.go"))
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %s has no tests: %v", m.guard, m.in, err)
		}
		var text strings.Builder
		for _, file := range files {
			part, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			text.Write(part)
		}
		for _, name := range m.names() {
			name, _, _ := strings.Cut(name, "/")
			if !strings.Contains(text.String(), "func "+name+"(t *testing.T)") && !strings.Contains(text.String(), "func "+name+"(f *testing.F)") {
				t.Errorf("%s: %s has no %s", m.guard, m.in, name)
			}
		}
	}
}

// TestEachCompiles: what does not compile is noticed by nothing.
func TestEachCompiles(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	var all []*mutant
	for i := range mutants {
		all = append(all, &mutants[i])
	}
	l := &laboratory{root: root, dir: t.TempDir()}
	if err := l.prepare(os.DevNull, all); err != nil { // always the same file: what was compiled once is kept
		t.Fatal(err)
	}
	if err := l.compile(t.Context(), all); err != nil {
		t.Error(err)
	}
}

// TestTable: docs/evidence.md has each guard, and what notices that it is gone.
func TestTable(t *testing.T) {
	text, err := os.ReadFile("../../docs/evidence.md")
	if err != nil {
		t.Fatal(err)
	}
	want, err := table("../..")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), "\n"+want+"\n") {
		t.Error("docs/evidence.md has another table than go run ./test/mutants -table prints")
	}
}
