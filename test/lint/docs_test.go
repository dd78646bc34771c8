package lint

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	quoted   = regexp.MustCompile("`([^` \n]+)`")
	testName = regexp.MustCompile(`^(Test|Fuzz|Benchmark)[A-Z][A-Za-z0-9]*$`)
	ourFile  = regexp.MustCompile(`^(\.ci|cmd|copydomain|dispatch|dmtable|docs|emulation|examples|internal|mdraid|remap|test|tools)/[A-Za-z0-9_./-]+$`)
	defined  = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz|Benchmark)[A-Z][A-Za-z0-9]*)\(`)
)

// TestDocsNameWhatExists: a guarantee whose test or file is gone is no
// guarantee.
func TestDocsNameWhatExists(t *testing.T) {
	const root = "../.."
	tests := definedTests(t, root)
	checked := 0
	for _, doc := range pages(t) {
		text, err := os.ReadFile(doc)
		if err != nil {
			t.Fatal(err)
		}
		for _, match := range quoted.FindAllStringSubmatch(string(text), -1) {
			name := match[1]
			switch {
			case testName.MatchString(name):
				checked++
				if !tests[name] {
					t.Errorf("%s: there is no %s", doc, name)
				}
			case ourFile.MatchString(name):
				checked++
				if _, err := os.Stat(filepath.Join(root, name)); err != nil {
					t.Errorf("%s: %v", doc, err)
				}
			}
		}
	}
	if checked < 100 {
		t.Errorf("only %d names checked: has the form of the docs changed?", checked)
	}
}

func definedTests(t *testing.T, root string) map[string]bool {
	t.Helper()
	found := make(map[string]bool)
	err := filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(name, "_test.go") {
			return err
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		for _, match := range defined.FindAllSubmatch(text, -1) {
			found[string(match[1])] = true
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}
