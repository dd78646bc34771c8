package lint

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"regexp"
	"strings"
	"testing"
)

// opening are the calls by which a program reaches files and devices, or changes what
// is in directories. Reading of whole files is not among them: most of it is sysfs.
var opening = map[string]bool{
	"os.Open": true, "os.OpenFile": true, "os.Create": true, "os.CreateTemp": true, "os.WriteFile": true, "os.Mkdir": true, "os.MkdirAll": true,
	"os.MkdirTemp": true, "os.Remove": true, "os.RemoveAll": true, "os.Rename": true, "os.Link": true, "os.Symlink": true, "os.Truncate": true,
	"os.Chmod": true, "os.Chown": true, "os.OpenRoot": true,
	"unix.Open": true, "unix.Openat": true, "unix.Openat2": true, "unix.Creat": true, "unix.Mkdir": true, "unix.Mkdirat": true, "unix.Mknod": true,
	"unix.Mknodat": true, "unix.Unlink": true, "unix.Unlinkat": true, "unix.Rename": true, "unix.Renameat": true, "unix.Renameat2": true,
	"unix.Link": true, "unix.Linkat": true, "unix.Symlink": true, "unix.Symlinkat": true, "unix.Mount": true,
}

var openRow = regexp.MustCompile("(?m)^\\| `([^`]+\\.go)` \\| ")

// TestOpensAreListed: what opens or makes files is what docs/security.md says, no more
// and no less.
func TestOpensAreListed(t *testing.T) {
	const root = "../.."
	text, err := os.ReadFile(root + "/docs/security.md")
	if err != nil {
		t.Fatal(err)
	}
	want := make(map[string]bool)
	for _, m := range openRow.FindAllStringSubmatch(string(text), -1) {
		want[m[1]] = true
	}
	found := openers(t, root)
	if len(want) < 10 || len(found) < 10 {
		t.Fatalf("%d files are listed, %d found: has the form of the table changed?", len(want), len(found))
	}
	for file, calls := range found {
		if !want[file] {
			t.Errorf("%s calls %v, and is not listed", file, calls)
		}
	}
	for file := range want {
		if found[file] == nil {
			t.Errorf("%s is listed, and opens nothing", file)
		}
	}
}

// openers are the files of the program that make such calls.
func openers(t *testing.T, root string) map[string][]string {
	t.Helper()
	found := make(map[string][]string)
	goFiles(t, root, func(name, file string) {
		if matchAny(tests, file) {
			return
		}
		if calls := callsOf(t, name); calls != nil {
			found[file] = calls
		}
	})
	return found
}

func callsOf(t *testing.T, name string) (calls []string) {
	t.Helper()
	parsed, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(parsed, func(n ast.Node) bool {
		if s, ok := n.(*ast.SelectorExpr); ok {
			if pkg, ok := s.X.(*ast.Ident); ok && opening[pkg.Name+"."+s.Sel.Name] {
				calls = append(calls, strings.Join([]string{pkg.Name, s.Sel.Name}, "."))
			}
		}
		return true
	})
	return calls
}
