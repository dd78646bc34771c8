package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/dmcopy/dmcopy/remap"
)

// TestReasonsHaveWords: every reason that the program can give has a sentence of
// its own, or one for its ending. The general words for a family are for layers
// that are not known, and for what devices and the kernel answer.
func TestReasonsHaveWords(t *testing.T) {
	slugs := make(map[string]string)
	for path, file := range sources(t, "../..") {
		for _, text := range literals(file) {
			if slug.MatchString(text) {
				slugs[text] = path
			}
		}
	}
	maps.Copy(slugs, tableReasons(t))
	maps.Copy(slugs, arrayReasons(t))
	if len(slugs) < 170 {
		t.Errorf("only %d reasons found: has the way to write them changed?", len(slugs))
	}
	for _, why := range slices.Sorted(maps.Keys(slugs)) {
		text := words(remap.Reason(why))
		general := slices.ContainsFunc(reasonFamilies, func(f struct{ prefix, words string }) bool { return text == f.words })
		if text == "" || general && !strings.HasPrefix(why, "device:") {
			t.Errorf("%s (%s) has no sentence", why, slugs[why])
		}
	}
}

// TestWordsHaveReasons: a sentence for what nobody says is a slug that was
// misspelt, or is gone.
func TestWordsHaveReasons(t *testing.T) {
	said := saidReasons(t)
	for why := range reasonWords {
		elsewhere := strings.HasPrefix(string(why), "device:") || strings.HasPrefix(string(why), "domain:") || strings.HasPrefix(string(why), "limit:")
		if said[string(why)] == "" && !elsewhere {
			t.Errorf("nobody says %s", why)
		}
	}
}

// TestDocsNameReasons: the table of layers names reasons that there are.
func TestDocsNameReasons(t *testing.T) {
	said := saidReasons(t)
	text, err := os.ReadFile("../../docs/layers.md")
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile("`((?:layer|domain|hold|limit|layout):[a-z0-9-]+)`").FindAllStringSubmatch(string(text), -1)
	if len(named) < 40 {
		t.Errorf("only %d reasons found: has the form of the table changed?", len(named))
	}
	for _, match := range named {
		if said[match[1]] == "" {
			t.Errorf("nobody says %s", match[1])
		}
	}
}

// saidReasons are all reasons that the program can give, and other strings.
func saidReasons(t *testing.T) map[string]string {
	t.Helper()
	said := tableReasons(t)
	maps.Copy(said, arrayReasons(t))
	for path, file := range sources(t, "../..") {
		if strings.HasSuffix(path, "cmd/dmcopy/reasons.go") {
			continue
		}
		for _, text := range literals(file) {
			said[text] = path
		}
	}
	// Those of whole devices and of target types without a parser are made of the
	// name of the kind.
	for _, kind := range []string{"md", "bcache", "drbd", "zloop", "pktcdvd", "default-key"} {
		said["layer:"+kind] = "sysblock, dmtable"
	}
	return said
}

// TestReasonsArePlain: sentences fit into a line behind a number of bytes.
func TestReasonsArePlain(t *testing.T) {
	for why, text := range reasonWords {
		if text == "" || len(text) > 120 || strings.ContainsAny(text, "\n") || strings.HasSuffix(text, ".") || strings.TrimSpace(text) != text {
			t.Errorf("%s: %q", why, text)
		}
	}
	for why, want := range map[remap.Reason]string{
		"layer:raid6-parity":    "the kernel has to compute the parity of what is written",
		"layer:linear-unparsed": "the kernel describes this layer in a way that dmcopy does not understand",
		"layer:dm-gap":          "the device-mapper table has a gap here",
		"layer:vdo":             "dmcopy does not look below layers of this type",
		"device:status-0x999":   "the disk refused the command with this NVMe status",
		"new:thing":             "",
	} {
		if got := words(why); got != want {
			t.Errorf("%s: %q", why, got)
		}
	}
}

var slug = regexp.MustCompile(`^(layer|domain|hold|limit|layout|policy|source|device|file):[a-z0-9-]*[a-z0-9]$`)

// sources parses the files of all packages that are linked into the program.
func sources(t *testing.T, root string) map[string]*ast.File {
	t.Helper()
	files := make(map[string]*ast.File)
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && (entry.Name() == "testdata" || path == filepath.Join(root, "test") || path != root && strings.HasPrefix(entry.Name(), ".") && entry.Name() != ".."):
			return filepath.SkipDir
		case entry.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go"):
			return nil
		}
		files[path], err = parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// literals lists all strings in a file or a part of it, imports left out.
func literals(node ast.Node) (texts []string) {
	ast.Inspect(node, func(n ast.Node) bool {
		if _, isImport := n.(*ast.ImportSpec); isImport {
			return false
		}
		if text, ok := literal(n); ok {
			texts = append(texts, text)
		}
		return true
	})
	return texts
}

func literal(n ast.Node) (string, bool) {
	lit, ok := n.(*ast.BasicLit)
	if !ok || lit.Kind != token.STRING {
		return "", false
	}
	text, err := strconv.Unquote(lit.Value)
	return text, err == nil
}

// tableReasons are those that package dmtable puts together of the type of a
// line: "-unparsed" for each, and what the functions say that a parser calls.
func tableReasons(t *testing.T) map[string]string {
	t.Helper()
	files := sources(t, "../../dmtable")
	funcs := make(map[string][]*ast.FuncDecl)
	names := make(map[string]string) // constants of types
	parsers := make(map[string]string)
	for path, file := range files {
		if filepath.Dir(path) != filepath.Join("..", "..", "dmtable") {
			continue
		}
		for _, decl := range file.Decls {
			if f, ok := decl.(*ast.FuncDecl); ok {
				funcs[f.Name.Name] = append(funcs[f.Name.Name], f)
			}
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if spec, ok := n.(*ast.ValueSpec); ok && len(spec.Names) == 1 && len(spec.Values) == 1 {
				if text, ok := literal(spec.Values[0]); ok {
					names[spec.Names[0].Name] = text
				}
			}
			return true
		})
	}
	ast.Inspect(files[filepath.Join("..", "..", "dmtable", "targets.go")], func(n ast.Node) bool {
		entry, ok := n.(*ast.KeyValueExpr)
		if !ok {
			return true
		}
		typ, isText := literal(entry.Key)
		if name, isName := entry.Key.(*ast.Ident); isName {
			typ, isText = names[name.Name], names[name.Name] != ""
		}
		if known, isLit := entry.Value.(*ast.CompositeLit); isText && isLit {
			for _, field := range known.Elts {
				if kv := field.(*ast.KeyValueExpr); kv.Key.(*ast.Ident).Name == "parse" {
					parsers[typ] = kv.Value.(*ast.Ident).Name
				}
			}
		}
		return true
	})
	if len(parsers) < 26 {
		t.Fatalf("only %d parsers found", len(parsers))
	}
	found := make(map[string]string)
	for typ, parse := range parsers {
		found["layer:"+typ+"-unparsed"] = "dmtable"
		compose(typ, parse, funcs, make(map[string]bool), found)
	}
	return found
}

// compose follows a parser through the functions that it calls by name. It does
// not know which method is meant, and follows none but those of args.
func compose(typ, name string, funcs map[string][]*ast.FuncDecl, seen map[string]bool, found map[string]string) {
	if seen[name] {
		return
	}
	seen[name] = true
	for _, f := range funcs[name] {
		ast.Inspect(f, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			called := ""
			switch fun := call.Fun.(type) {
			case *ast.Ident:
				called = fun.Name
			case *ast.SelectorExpr:
				if on, ok := fun.X.(*ast.Ident); ok && on.Name == "a" {
					called = fun.Sel.Name
				}
			}
			switch called {
			case "":
			case "opaque":
				if why, ok := literal(call.Args[1]); ok {
					found["layer:"+typ+"-"+why] = "dmtable, " + name
				}
			case "closed":
				found["layer:"+typ] = "dmtable, " + name
			case "newSource":
				found["layer:"+typ+"-write"] = "dmtable, " + name
			default:
				compose(typ, called, funcs, seen, found)
			}
			return true
		})
	}
}

// arrayReasons are those that package raidmap puts together, for arrays of both
// kinds and of all levels.
func arrayReasons(t *testing.T) map[string]string {
	t.Helper()
	array := sources(t, "../../internal/raidmap")[filepath.Join("..", "..", "internal", "raidmap", "array.go")]
	levels := literals(sources(t, "../../mdraid")[filepath.Join("..", "..", "mdraid", "levels.go")])
	subjects := map[string][]string{"family": {"md", "dm"}, "level": levels}
	found := make(map[string]string)
	ast.Inspect(array, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok || len(call.Args) != 2 {
			return true
		}
		if fun, ok := call.Fun.(*ast.Ident); ok && fun.Name == "reason" {
			what, _ := literal(call.Args[1])
			for _, subject := range subjects[call.Args[0].(*ast.Ident).Name] {
				found["layer:"+subject+"-"+what] = "raidmap"
			}
		}
		return true
	})
	if len(found) < 20 {
		t.Fatalf("only %d reasons of arrays found", len(found))
	}
	return found
}
