package main

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/format"
	"path/filepath"
	"slices"
	"strings"
)

// switches are one program that is each of many mutants in turn. To build it once is much cheaper than to build each of them.
// Every function with a guard is there as it is, and once without each of its guards; what has its name looks which one is
// wanted. A file says so, and no variable of the environment, since tests begin programs without theirs.
type switches struct {
	files map[string][]byte // by absolute path
	ids   map[*mutant]int   // what the file says; those that are missing have to be built alone
}

// newSwitches makes the program, which reads the choice from a file.
func newSwitches(root, choice string, p program, chosen []*mutant) (*switches, error) {
	s := &switches{files: make(map[string][]byte), ids: make(map[*mutant]int)}
	guarded := make(map[*source]map[*ast.FuncDecl][]*guard)
	for _, m := range chosen {
		at, err := p.find(m)
		if err != nil {
			return nil, err
		}
		if m.guest || strings.HasSuffix(m.in, "...") || at.function == nil {
			continue
		}
		s.ids[m] = len(s.ids) + 1
		if guarded[at.src] == nil {
			guarded[at.src] = make(map[*ast.FuncDecl][]*guard)
		}
		guarded[at.src][at.function] = append(guarded[at.src][at.function], &guard{m, at, s.ids[m]})
	}
	for src, functions := range guarded {
		path := filepath.Join(root, src.file)
		var err error
		if s.files[path], err = split(src, functions); err != nil {
			return nil, fmt.Errorf("%s: %w", src.file, err)
		}
		s.files[filepath.Join(filepath.Dir(path), "mutant_choice.go")] = fmt.Appendf(nil,
			"package %s\n\nimport \"os\"\n\nvar mutant__ = func() string { b, _ := os.ReadFile(%q); return string(b) }()\n",
			src.tree.Name.Name, choice)
	}
	return s, nil
}

// A guard is one of those of a function.
type guard struct {
	*mutant
	at *place
	id int
}

// split returns the file with its guarded functions split up.
func split(src *source, guarded map[*ast.FuncDecl][]*guard) ([]byte, error) {
	var out, variants bytes.Buffer
	done := 0
	for _, decl := range src.tree.Decls {
		f, ok := decl.(*ast.FuncDecl)
		if !ok || len(guarded[f]) == 0 {
			continue
		}
		begin, end := src.span(f)
		out.Write(src.text[done:begin])
		if err := writeSwitch(&out, src, f, guarded[f]); err != nil {
			return nil, err
		}
		writeVariants(&variants, src, f, guarded[f])
		done = end
	}
	out.Write(src.text[done:])
	out.Write(variants.Bytes())
	return out.Bytes(), nil
}

// writeSwitch writes a function that calls the one that is wanted.
func writeSwitch(out *bytes.Buffer, src *source, f *ast.FuncDecl, guards []*guard) error {
	sign, call := callable(f)
	if err := format.Node(out, src.files, sign); err != nil {
		return err
	}
	if f.Type.Results != nil {
		call = "return " + call
	}
	out.WriteString(" {\n\tswitch mutant__ {\n")
	for _, g := range guards {
		fmt.Fprintf(out, "\tcase \"%d\":\n\t\t"+call+"\n", g.id, g.id)
	}
	fmt.Fprintf(out, "\tdefault:\n\t\t"+call+"\n\t}\n}", 0)
	return nil
}

// writeVariants writes the function as it is, and without each of its guards. Messages of the compiler name the guard.
func writeVariants(out *bytes.Buffer, src *source, f *ast.FuncDecl, guards []*guard) {
	begin, end := src.span(f)
	_, name := src.span(f.Name)
	head, tail := src.text[begin:name], src.text[name:end]
	fmt.Fprintf(out, "\n%s__0%s\n", head, tail)
	for _, g := range guards {
		fmt.Fprintf(out, "\n//line %s:1\n%s__%d%s\n", g.mutant.guard, head, g.id, g.at.without(g.mutant, name, end))
	}
}

// callable returns the signature of a function with all its parameters named, and the format of a call of a variant of it.
func callable(f *ast.FuncDecl) (sign *ast.FuncDecl, call string) {
	sign, name := &ast.FuncDecl{Name: f.Name, Type: &ast.FuncType{TypeParams: f.Type.TypeParams, Results: f.Type.Results}}, f.Name.Name+"__%d"
	n := 0
	named := func(list *ast.FieldList) (*ast.FieldList, []string) {
		var fields []*ast.Field
		var args []string
		for _, old := range list.List {
			field := &ast.Field{Names: slices.Clone(old.Names), Type: old.Type}
			if len(field.Names) == 0 {
				field.Names = []*ast.Ident{ast.NewIdent("_")}
			}
			for i, name := range field.Names {
				if name.Name == "_" {
					n++
					field.Names[i] = ast.NewIdent(fmt.Sprintf("p%d__", n))
				}
				arg := field.Names[i].Name
				if _, variadic := field.Type.(*ast.Ellipsis); variadic {
					arg += "..."
				}
				args = append(args, arg)
			}
			fields = append(fields, field)
		}
		return &ast.FieldList{List: fields}, args
	}
	if f.Recv != nil {
		var receiver []string
		sign.Recv, receiver = named(f.Recv)
		name = receiver[0] + "." + name
	}
	if f.Type.TypeParams != nil {
		_, types := named(f.Type.TypeParams)
		name += "[" + strings.Join(types, ", ") + "]"
	}
	var args []string
	sign.Type.Params, args = named(f.Type.Params)
	return sign, name + "(" + strings.Join(args, ", ") + ")"
}
