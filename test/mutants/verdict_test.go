package main

import (
	"slices"
	"strings"
	"testing"
)

// TestFailures: only a test that fails by its own verdict has noticed anything.
func TestFailures(t *testing.T) {
	const (
		passes = `{"Action":"pass","Test":"TestA"}`
		fails  = `{"Action":"fail","Test":"TestB"}`
		part   = `{"Action":"fail","Test":"TestB/part"}`
		build  = `{"Action":"build-output","Output":"undefined: x"}` + "\n" + `{"Action":"fail"}`
	)
	output := func(text string) string { return `{"Action":"output","Test":"TestB","Output":"` + text + `"}` }
	for name, c := range map[string]struct {
		lines []string
		want  []string
		err   bool
	}{
		"passes":                  {lines: []string{passes}},
		"fails":                   {lines: []string{passes, part, fails}, want: []string{"TestB/part", "TestB"}},
		"does not compile":        {lines: []string{build}, err: true},
		"runs nothing":            {lines: []string{`{"Action":"pass"}`}, err: true},
		"panics":                  {lines: []string{output(`panic: boom [recovered, repanicked]\n`), fails}, err: true},
		"does not end":            {lines: []string{passes, output(`panic: test timed out after 3m0s\n`)}, err: true},
		"is ended by the runtime": {lines: []string{passes, output(`fatal error: all goroutines are asleep - deadlock!\n`)}, err: true},
		"a property panics":       {lines: []string{output(`    a_test.go:6: [rapid] panic after 3 tests: boom\n`), fails}, err: true},
		"speaks of a panic":       {lines: []string{output(`    a_test.go:6: panic: not ours\n`), fails}, want: []string{"TestB"}},
		"garbage":                 {lines: []string{"FAIL"}, err: true},
	} {
		got, err := failures([]byte(strings.Join(c.lines, "\n")))
		if !slices.Equal(got, c.want) || (err != nil) != c.err {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}
