package lint

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// source is one import of one file.
type source struct {
	file   string // relative to the root of the module
	line   int
	path   string // that is imported
	marked bool   // as a violation, in fixtures
}

func (s source) dir() string { return path.Dir(s.file) }

// load reads the imports of every Go file below root, whatever its build
// constraints say.
func load(t *testing.T, root string) (imports []source) {
	t.Helper()
	goFiles(t, root, func(name, file string) { imports = append(imports, importsOf(t, name, file)...) })
	return imports
}

// goFiles visits every Go file below root; file is its name from there on, with
// slashes. Fixtures and modules of their own are left out.
func goFiles(t *testing.T, root string, visit func(name, file string)) {
	t.Helper()
	err := filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && name != root && skipped(name):
			return filepath.SkipDir
		case entry.IsDir() || filepath.Ext(name) != ".go":
			return nil
		}
		relative, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		visit(name, filepath.ToSlash(relative))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func skipped(dir string) bool {
	base := filepath.Base(dir)
	if base == "testdata" || strings.HasPrefix(base, ".") {
		return true
	}
	_, err := os.Stat(filepath.Join(dir, "go.mod"))
	return err == nil
}

func importsOf(t *testing.T, name, file string) (imports []source) {
	t.Helper()
	files := token.NewFileSet()
	parsed, err := parser.ParseFile(files, name, nil, parser.ImportsOnly|parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	for _, spec := range parsed.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		imports = append(imports, source{file, files.Position(spec.Pos()).Line, imported, spec.Comment != nil})
	}
	return imports
}

// match tells whether a slash-separated name fits a pattern: "dir/..." is the
// subtree with its root, "..." is everything, "*_test.go" and "*/uapi.go" are
// the ends of names, and anything else is itself.
func match(pattern, name string) bool {
	if tree, ok := strings.CutSuffix(pattern, "..."); ok {
		tree = strings.TrimSuffix(tree, "/")
		return tree == "" || name == tree || strings.HasPrefix(name, tree+"/")
	}
	if end, ok := strings.CutPrefix(pattern, "*"); ok {
		return strings.HasSuffix(name, end)
	}
	return pattern == name
}

func matchAny(patterns []string, name string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool { return match(pattern, name) })
}

func matchSome(pattern string, names []string) bool {
	return slices.ContainsFunc(names, func(name string) bool { return match(pattern, name) })
}
