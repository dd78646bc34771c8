package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestFind: a guard is found in its function wherever that stands, and nowhere else.
func TestFind(t *testing.T) {
	root := t.TempDir()
	for name, text := range map[string]string{
		"a/one.go": "package a\n\nfunc first() bool { return true }\n\nfunc second() bool { return true }\n\nfunc twice() (a, b bool) { a = true; b = true; return }\n\ntype t[N any] struct{}\n",
		"a/two.go": "package a\n\nfunc (t[N]) second() bool { return true }\n\nfunc third() bool { return true }\n\nconst (\n\tfew = 1\n\tmany = 1\n)\n",
		"b/one.go": "package b\n\nfunc first() bool { return true }\n",
		"c/one.go": "package b\n\nfunc first() bool { return true }\n",
		// no part of the product
		"a/one_test.go":     "package a\n\nfunc third() bool { return true }\n",
		"a/two_windows.go":  "package a\n\nfunc third() bool { return true }\n",
		"test/fake/fake.go": "package a\n\nfunc third() bool { return true }\n",
	} {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p, err := readProgram(root)
	if err != nil {
		t.Fatal(err)
	}
	for symbol, want := range map[string]string{
		"a.first":    "func first() bool { return false }\n\nfunc second() bool { return true }",
		"a.second":   "func first() bool { return true }\n\nfunc second() bool { return false }",
		"a.t.second": "func (t[N]) second() bool { return false }",
		"a.third":    "func third() bool { return false }",
	} {
		m := &mutant{guard: symbol, symbol: symbol, old: "true", new: "false"}
		at, err := p.find(m)
		if err != nil {
			t.Error(err)
			continue
		}
		if got := string(at.without(m, 0, len(at.src.text))); !strings.Contains(got, want) {
			t.Errorf("%s: %s", symbol, got)
		}
	}
	many := &mutant{symbol: "a.many", old: "1", new: "2"}
	if at, err := p.find(many); err != nil || !strings.Contains(string(at.without(many, 0, len(at.src.text))), "few = 1\n\tmany = 2\n") {
		t.Errorf("a constant: %v", err)
	}
	for _, m := range []mutant{
		{guard: "elsewhere", symbol: "a.t.first", old: "true"},
		{guard: "in two packages of one name", symbol: "b.first", old: "true"},
		{guard: "twice", symbol: "a.twice", old: "true"},
		{guard: "not in the body", symbol: "a.first", old: "bool"},
		{guard: "no change", symbol: "a.first", old: "true", new: "true"},
	} {
		if at, err := p.find(&m); err == nil {
			t.Errorf("%s: found in %s", m.guard, at.src.file)
		}
	}
}
