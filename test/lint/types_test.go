package lint

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"path"
	"slices"
	"testing"
)

// Who reads a type has its fields and its methods in mind at the same time. What is more than
// this is several things, and a type for each of them. An embedded type is one field, and its
// methods are its own.
const (
	maxFields  = 15
	maxMethods = 25
)

// TestTypesAreSmall: no type of the program has more fields or methods than these.
func TestTypesAreSmall(t *testing.T) {
	problems, counted := largeTypes(t, "../..")
	for _, problem := range problems {
		t.Error(problem)
	}
	if counted < 300 {
		t.Errorf("only %d types counted: is this the repository?", counted)
	}
}

// TestSmallTypesBite: each way of being too large is noticed once. Structs of the kernel are
// as large as it has them, in a file that says so, if their layout is asserted.
func TestSmallTypesBite(t *testing.T) {
	want := []string{
		"internal/dispatch/hold: anyStruct has 16 fields",
		"remap: Fields has 16 fields",
		"remap: Generic has 26 methods",
		"remap: Interface has 26 methods",
		"remap: Methods has 26 methods",
		"remap: Within has 16 fields",
	}
	if got, _ := largeTypes(t, "testdata/types"); !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
}

// typesOf are those of a package, and what was counted of them.
type typesOf struct{ fields, methods map[string]int }

// largeTypes lists the types below root that are too large, but those of tests, and tells how many
// there are in all.
func largeTypes(t *testing.T, root string) (problems []string, counted int) {
	t.Helper()
	packages := make(map[string]typesOf)
	goFiles(t, root, func(name, file string) {
		if matchAny(tests, file) {
			return
		}
		dir := path.Dir(file)
		if packages[dir].fields == nil {
			packages[dir] = typesOf{make(map[string]int), make(map[string]int)}
		}
		tree, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		packages[dir].count(tree, path.Base(file) == "uapi.go")
	})
	for dir, types := range packages {
		counted += len(types.fields)
		for name, n := range types.fields {
			if n > maxFields {
				problems = append(problems, fmt.Sprintf("%s: %s has %d fields", dir, name, n))
			}
		}
		for name, n := range types.methods {
			if n > maxMethods {
				problems = append(problems, fmt.Sprintf("%s: %s has %d methods", dir, name, n))
			}
		}
	}
	slices.Sort(problems)
	return problems, counted
}

// count counts the types and the methods of a file.
func (p typesOf) count(tree *ast.File, mirrors bool) {
	var kernels map[string]bool
	if mirrors {
		kernels = asserted(tree)
	}
	ast.Inspect(tree, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncDecl:
			if n.Recv != nil {
				p.methods[receiver(n)]++
			}
		case *ast.TypeSpec:
			p.fields[n.Name.Name] += 0
			switch of := n.Type.(type) {
			case *ast.StructType:
				if !kernels[n.Name.Name] {
					p.fields[n.Name.Name] += of.Fields.NumFields()
				}
			case *ast.InterfaceType:
				p.methods[n.Name.Name] += of.Methods.NumFields()
			}
		}
		return true
	})
}

// asserted are the types of a file whose size or offsets stand in constants.
func asserted(tree *ast.File) map[string]bool {
	found := make(map[string]bool)
	for _, decl := range tree.Decls {
		if general, ok := decl.(*ast.GenDecl); ok && general.Tok == token.CONST {
			maps.Copy(found, measured(general))
		}
	}
	return found
}

// measured are the types T of unsafe.Sizeof(T{}) and unsafe.Offsetof(T{}.field) below a node.
func measured(node ast.Node) map[string]bool {
	found := make(map[string]bool)
	ast.Inspect(node, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok || len(call.Args) != 1 {
			return true
		}
		f, ok := call.Fun.(*ast.SelectorExpr)
		if !ok || f.Sel.Name != "Sizeof" && f.Sel.Name != "Offsetof" {
			return true
		}
		of := call.Args[0]
		if field, ok := of.(*ast.SelectorExpr); ok {
			of = field.X
		}
		if literal, ok := of.(*ast.CompositeLit); ok {
			if name, ok := literal.Type.(*ast.Ident); ok {
				found[name.Name] = true
			}
		}
		return true
	})
	return found
}
