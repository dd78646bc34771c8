// Package golden compares what is computed with files that hold what is right. With -update a test rewrites the answers in
// these files, for a person to read the difference.
//
// A file of cases has blocks, with an empty line between them:
//
//	# name of the case
//	what is asked about, in lines that only the test understands
//	read 0 16
//		0 +16 -> 8:16:2048
//	notes
//		degraded: slot 0 is missing
//
// A line that begins with one of [questions] is a question. Its answers are indented below.
package golden

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/dmcopy/dmcopy/remap"
)

// Update is whether files are to be rewritten.
var Update = flag.Bool("update", false, "rewrite the answers in golden files")

// questions are the first words of questions.
var questions = []string{"read", "write", "notes", "transition", "error"}

// TB is what helpers need of a testing.T, a testing.F or a rapid.T.
type TB interface {
	Helper()
	Fatal(...any)
	Fatalf(string, ...any)
}

// A Case is something that questions are asked about.
type Case struct {
	Name  string
	About []string // lines
	named bool
	asked []*question
}

type question struct {
	line    string
	answers []string
}

// Cases reads the cases of a file.
func Cases(t TB, path string) []*Case {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var cases []*Case
	for block := range strings.SplitSeq(strings.TrimSuffix(string(text), "\n"), "\n\n") {
		c, err := parse(block)
		if err != nil {
			t.Fatalf("%s: %q: %v", path, block, err)
		}
		cases = append(cases, c)
	}
	if !bytes.Equal(format(cases), text) {
		t.Fatalf("%s is not as -update would write it", path)
	}
	return cases
}

func parse(block string) (*Case, error) {
	c := new(Case)
	for line := range strings.SplitSeq(block, "\n") {
		word, _, _ := strings.Cut(line, " ")
		last := len(c.asked) - 1
		switch {
		case slices.Contains(questions, word):
			c.asked = append(c.asked, &question{line: line})
		case strings.HasPrefix(line, "\t") && last >= 0:
			c.asked[last].answers = append(c.asked[last].answers, line[1:])
		case last >= 0 || line == "":
			return nil, fmt.Errorf("neither a question nor an answer: %q", line)
		case word == "#" && len(c.About) == 0:
			c.Name, c.named = line[2:], true
		default:
			c.About = append(c.About, line)
		}
	}
	if len(c.asked) == 0 {
		return nil, errors.New("nothing is asked")
	}
	if !c.named {
		c.Name = strings.Join(c.About[:min(len(c.About), 1)], "")
	}
	return c, nil
}

func format(cases []*Case) []byte {
	var b bytes.Buffer
	for i, c := range cases {
		if i > 0 {
			b.WriteString("\n")
		}
		if c.named {
			fmt.Fprintf(&b, "# %s\n", c.Name)
		}
		for _, line := range c.About {
			fmt.Fprintf(&b, "%s\n", line)
		}
		for _, q := range c.asked {
			fmt.Fprintf(&b, "%s\n", q.line)
			for _, answer := range q.answers {
				fmt.Fprintf(&b, "\t%s\n", answer)
			}
		}
	}
	return b.Bytes()
}

// Check asks the questions of all cases in testdata/*.txt. Whatever answers them is made of what they are about; it is given
// the words of a question.
func Check(t *testing.T, makes func(t *testing.T, about []string) func(words []string) []string) {
	t.Helper()
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("there are no cases", err)
	}
	for _, file := range files {
		cases := Cases(t, file)
		for _, c := range cases {
			t.Run(filepath.Base(file)+"/"+c.Name, func(t *testing.T) {
				answer := makes(t, c.About)
				for _, q := range c.asked {
					q.check(t, answer(strings.Fields(q.line)))
				}
			})
		}
		if *Update {
			write(t, file, format(cases))
		}
	}
}

func (q *question) check(t *testing.T, got []string) {
	t.Helper()
	switch {
	case *Update:
		q.answers = got
	case !slices.Equal(got, q.answers):
		t.Errorf("%s\n got %q\nwant %q", q.line, got, q.answers)
	}
}

// Range is what a question "read START LENGTH" or "write START LENGTH" asks for.
func Range(t TB, words []string) (op remap.Op, start, n remap.Sector) {
	t.Helper()
	if _, err := fmt.Sscan(strings.Join(words[1:], " "), &start, &n); err != nil {
		t.Fatalf("%q: %v", words, err)
	}
	if words[0] == "write" {
		return remap.Write, start, n
	}
	return remap.Read, start, n
}

// Walk asks a layer for a range until it is covered. Each answer is a line, with the place as text has it.
func Walk(t TB, l remap.Layer, op remap.Op, start, n remap.Sector, text func(s remap.Sector, p remap.Place) string) (got []string) {
	t.Helper()
	for n > 0 {
		p := l.Map(op, start, n)
		if p.Len < 1 || p.Len > n {
			t.Fatalf("Map(%v, %d, %d) is %d sectors long", op, start, n, p.Len)
		}
		got = append(got, fmt.Sprintf("%d +%d -> %s", start, p.Len, text(start, p)))
		start, n = start+p.Len, n-p.Len
	}
	return got
}

// File compares what is computed with a whole file.
func File(t testing.TB, path string, got []byte) {
	t.Helper()
	if *Update {
		write(t, path, got)
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s holds something else than\n%s", path, got)
	}
}

func write(t testing.TB, path string, text []byte) {
	t.Helper()
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
}
