package main

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/build"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// A program is what guards are taken away from, by symbol: "package.Func", "package.Type.Method", or "package.name" of a
// constant, a variable or a type. No two packages of the product have one name.
type program map[string][]*declaration

// A declaration is where the text of a symbol stands.
type declaration struct {
	src        *source
	function   *ast.FuncDecl // or nil
	begin, end int           // of the body, if it is a function
}

// A source is a file of the program.
type source struct {
	file  string // from the root of the repository
	text  []byte
	files *token.FileSet
	tree  *ast.File
}

// A place is what a mutant replaces.
type place struct {
	*declaration
	begin, end int
}

// notMutated are the directories without guards, beside those whose name begins with a dot.
var notMutated = []string{"examples", "test", "testdata", "tools"}

// readProgram takes the root of the repository.
func readProgram(root string) (program, error) {
	p := make(program)
	err := fs.WalkDir(os.DirFS(root), ".", func(file string, d fs.DirEntry, err error) error {
		name := d.Name()
		switch {
		case err != nil:
			return err
		case d.IsDir():
			if slices.Contains(notMutated, name) || name != "." && strings.HasPrefix(name, ".") {
				return fs.SkipDir
			}
			return nil
		case !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go"):
			return nil
		}
		if match, err := build.Default.MatchFile(filepath.Join(root, filepath.Dir(file)), name); err != nil || !match {
			return err
		}
		return p.read(root, file)
	})
	return p, err
}

func (p program) read(root, file string) (err error) {
	s := &source{file: file, files: token.NewFileSet()}
	if s.text, err = os.ReadFile(filepath.Join(root, file)); err != nil {
		return err
	}
	if s.tree, err = parser.ParseFile(s.files, file, s.text, parser.SkipObjectResolution); err != nil {
		return err
	}
	for _, decl := range s.tree.Decls {
		switch decl := decl.(type) {
		case *ast.FuncDecl:
			if decl.Body != nil {
				p.add(s, symbol(decl), decl.Body, decl)
			}
		case *ast.GenDecl:
			for _, spec := range decl.Specs {
				switch spec := spec.(type) {
				case *ast.TypeSpec:
					p.add(s, spec.Name.Name, spec, nil)
				case *ast.ValueSpec:
					for _, name := range spec.Names {
						p.add(s, name.Name, spec, nil)
					}
				}
			}
		}
	}
	return nil
}

func (p program) add(s *source, name string, text ast.Node, function *ast.FuncDecl) {
	name = s.tree.Name.Name + "." + name
	begin, end := s.span(text)
	p[name] = append(p[name], &declaration{s, function, begin, end})
}

// symbol is the name of a function within its package.
func symbol(f *ast.FuncDecl) string {
	if f.Recv == nil {
		return f.Name.Name
	}
	of := f.Recv.List[0].Type
	for {
		switch t := of.(type) {
		case *ast.StarExpr:
			of = t.X
		case *ast.IndexExpr:
			of = t.X
		case *ast.IndexListExpr:
			of = t.X
		case *ast.Ident:
			return t.Name + "." + f.Name.Name
		default:
			return f.Name.Name
		}
	}
}

// span is where a node stands in the text.
func (s *source) span(n ast.Node) (begin, end int) {
	return s.files.Position(n.Pos()).Offset, s.files.Position(n.End()).Offset
}

// find returns what a mutant replaces.
func (p program) find(m *mutant) (*place, error) {
	found := p[m.symbol]
	if len(found) != 1 {
		return nil, fmt.Errorf("%s: %s is declared %d times", m.guard, m.symbol, len(found))
	}
	d := found[0]
	text := d.src.text[d.begin:d.end]
	if n := bytes.Count(text, []byte(m.old)); n != 1 || m.old == m.new {
		return nil, fmt.Errorf("%s: %s (%s) holds %d times what is to be replaced by %q", m.guard, m.symbol, d.src.file, n, m.new)
	}
	begin := d.begin + bytes.Index(text, []byte(m.old))
	return &place{d, begin, begin + len(m.old)}, nil
}

// without returns the part of the file from begin to end, with something else in this place.
func (at *place) without(m *mutant, begin, end int) []byte {
	return slices.Concat(at.src.text[begin:at.begin], []byte(m.new), at.src.text[at.end:end])
}
