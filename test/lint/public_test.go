package lint

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestPublicTypes: whoever imports a package that is not internal can name every type of its
// signatures. What is internal has an exported alias in a public package, or does not show.
func TestPublicTypes(t *testing.T) {
	for _, problem := range hiddenTypes(t, "../..") {
		t.Error(problem)
	}
}

// TestPublicTypesBite: each way of showing a type that cannot be named is noticed once.
func TestPublicTypesBite(t *testing.T) {
	want := []string{
		"dmtable/signatures.go: Constant shows internal/boottime.Limit",
		"dmtable/signatures.go: Field shows internal/boottime.Limit",
		"dmtable/signatures.go: Function shows internal/boottime.Limit",
		"dmtable/signatures.go: Interface shows internal/boottime.Limit",
		"dmtable/signatures.go: Method shows internal/boottime.Limit",
		"dmtable/signatures.go: Slice shows internal/boottime.Limit",
	}
	if got := hiddenTypes(t, "testdata/public"); !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
}

// hiddenTypes lists, for each package below root that other programs may import, what its exported
// declarations name of packages that they may not.
func hiddenTypes(t *testing.T, root string) []string {
	t.Helper()
	var found []string
	packages := make(map[string]map[string]*ast.File)
	files := token.NewFileSet()
	goFiles(t, root, func(name, file string) {
		dir := path.Dir(file)
		if strings.HasSuffix(file, "_test.go") || !isPublic(dir) {
			return
		}
		tree, err := parser.ParseFile(files, name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		if packages[dir] == nil {
			packages[dir] = make(map[string]*ast.File)
		}
		packages[dir][file] = tree
	})
	aliases := make(map[string]bool)
	for _, pkg := range packages {
		for _, tree := range pkg {
			maps.Copy(aliases, aliasesOf(tree))
		}
	}
	for _, pkg := range packages {
		for file, tree := range pkg {
			internal := internalImports(tree)
			for name, hidden := range shown(tree, internal) {
				if !aliases[hidden] {
					found = append(found, fmt.Sprintf("%s: %s shows %s", file, name, strings.TrimPrefix(hidden, module+"/")))
				}
			}
		}
	}
	slices.Sort(found)
	return slices.Compact(found)
}

// isPublic tells whether programs of others may import what is in a directory, and would.
func isPublic(dir string) bool {
	return !slices.ContainsFunc(strings.Split(dir, "/"), func(part string) bool {
		return part == "internal" || part == "test" || part == "cmd" || part == "tools" || part == "examples"
	}) && !slices.ContainsFunc(support, func(r room) bool { return match(r.dir, dir) })
}

// internalImports are those of a file that others may not import, by the name that they have there.
func internalImports(tree *ast.File) map[string]string {
	names := make(map[string]string)
	for _, spec := range tree.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil || !strings.HasPrefix(imported, module+"/") || !strings.Contains(imported, "/internal/") {
			continue
		}
		name := path.Base(imported)
		if spec.Name != nil {
			name = spec.Name.Name
		}
		names[name] = imported
	}
	return names
}

// aliasesOf are the internal types that have an exported name in a file.
func aliasesOf(tree *ast.File) map[string]bool {
	aliases, internal := make(map[string]bool), internalImports(tree)
	for _, decl := range tree.Decls {
		general, ok := decl.(*ast.GenDecl)
		if !ok {
			continue
		}
		for _, spec := range general.Specs {
			if s, ok := spec.(*ast.TypeSpec); ok && s.Assign.IsValid() && s.Name.IsExported() {
				for _, hidden := range hiddenIn(s.Type, internal) {
					aliases[hidden] = true
				}
			}
		}
	}
	return aliases
}

// shown yields what the exported declarations of a file name of internal packages.
func shown(tree *ast.File, internal map[string]string) func(func(name, hidden string) bool) {
	return func(yield func(name, hidden string) bool) {
		tell := func(name string, node ast.Node) {
			for _, hidden := range hiddenIn(node, internal) {
				yield(name, hidden)
			}
		}
		for _, decl := range tree.Decls {
			switch d := decl.(type) {
			case *ast.FuncDecl:
				if d.Name.IsExported() && (d.Recv == nil || ast.IsExported(receiver(d))) {
					tell(d.Name.Name, d.Type)
				}
			case *ast.GenDecl:
				for _, spec := range d.Specs {
					switch s := spec.(type) {
					case *ast.TypeSpec:
						if s.Name.IsExported() && !s.Assign.IsValid() {
							tell(s.Name.Name, exportedPart(s.Type))
						}
					case *ast.ValueSpec:
						if slices.ContainsFunc(s.Names, (*ast.Ident).IsExported) && s.Type != nil {
							tell(s.Names[0].Name, s.Type)
						}
					}
				}
			}
		}
	}
}

func receiver(d *ast.FuncDecl) (name string) {
	ast.Inspect(d.Recv.List[0].Type, func(n ast.Node) bool {
		if id, ok := n.(*ast.Ident); ok && name == "" {
			name = id.Name
		}
		return true
	})
	return name
}

// exportedPart is a type without the fields that others do not see.
func exportedPart(expr ast.Expr) ast.Expr {
	s, ok := expr.(*ast.StructType)
	if !ok {
		return expr
	}
	seen := &ast.StructType{Fields: &ast.FieldList{}}
	for _, f := range s.Fields.List {
		if len(f.Names) == 0 || slices.ContainsFunc(f.Names, (*ast.Ident).IsExported) {
			seen.Fields.List = append(seen.Fields.List, f)
		}
	}
	return seen
}

// hiddenIn lists the names of internal packages below a node.
func hiddenIn(node ast.Node, internal map[string]string) (names []string) {
	ast.Inspect(node, func(n ast.Node) bool {
		sel, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		if id, ok := sel.X.(*ast.Ident); ok && internal[id.Name] != "" {
			names = append(names, internal[id.Name]+"."+sel.Sel.Name)
		}
		return true
	})
	return names
}
