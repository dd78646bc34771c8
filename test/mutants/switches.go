package main

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/format"
	"go/parser"
	"go/token"
	"os"
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
func newSwitches(root, choice string, chosen []*mutant) (*switches, error) {
	s := &switches{files: make(map[string][]byte), ids: make(map[*mutant]int)}
	byFile := make(map[string][]*mutant)
	for _, m := range chosen {
		if !m.guest && !strings.HasSuffix(m.in, "...") {
			byFile[m.file] = append(byFile[m.file], m)
		}
	}
	for file, ms := range byFile {
		path := filepath.Join(root, file)
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		src, err := parseSource(path, text)
		if err != nil {
			return nil, err
		}
		if s.files[path], err = s.split(src, ms); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		s.files[filepath.Join(filepath.Dir(path), "mutant_choice.go")] = fmt.Appendf(nil,
			"package %s\n\nimport \"os\"\n\nvar mutant__ = func() string { b, _ := os.ReadFile(%q); return string(b) }()\n",
			src.tree.Name.Name, choice)
	}
	return s, nil
}

// A source is a file of the program.
type source struct {
	text  []byte
	files *token.FileSet
	tree  *ast.File
}

func parseSource(path string, text []byte) (*source, error) {
	s := &source{text: text, files: token.NewFileSet()}
	var err error
	s.tree, err = parser.ParseFile(s.files, path, text, parser.SkipObjectResolution)
	return s, err
}

// span is where a node stands in the text.
func (s *source) span(n ast.Node) (begin, end int) {
	return s.files.Position(n.Pos()).Offset, s.files.Position(n.End()).Offset
}

// split returns the file with its guarded functions split up.
func (s *switches) split(src *source, ms []*mutant) ([]byte, error) {
	inside := make(map[*ast.FuncDecl][]*mutant)
	for _, m := range ms {
		if n := bytes.Count(src.text, []byte(m.old)); n != 1 {
			return nil, fmt.Errorf("%s: %d times there what is to be replaced", m.guard, n)
		}
		begin := bytes.Index(src.text, []byte(m.old))
		if f := src.function(begin, begin+len(m.old)); f != nil {
			inside[f] = append(inside[f], m)
			s.ids[m] = len(s.ids) + 1
		}
	}
	var out, variants bytes.Buffer
	done := 0
	for _, decl := range src.tree.Decls {
		f, ok := decl.(*ast.FuncDecl)
		if !ok || len(inside[f]) == 0 {
			continue
		}
		begin, end := src.span(f)
		out.Write(src.text[done:begin])
		if err := s.writeSwitch(&out, src, f, inside[f]); err != nil {
			return nil, err
		}
		s.writeVariants(&variants, src, f, inside[f])
		done = end
	}
	out.Write(src.text[done:])
	out.Write(variants.Bytes())
	return out.Bytes(), nil
}

// function is the one whose body all of a piece of the text is part of, or nil.
func (s *source) function(begin, end int) *ast.FuncDecl {
	for _, decl := range s.tree.Decls {
		if f, ok := decl.(*ast.FuncDecl); ok && f.Body != nil {
			if first, last := s.span(f.Body); first <= begin && end <= last {
				return f
			}
		}
	}
	return nil
}

// writeSwitch writes a function that calls the one that is wanted.
func (s *switches) writeSwitch(out *bytes.Buffer, src *source, f *ast.FuncDecl, ms []*mutant) error {
	sign, call := callable(f)
	if err := format.Node(out, src.files, sign); err != nil {
		return err
	}
	if f.Type.Results != nil {
		call = "return " + call
	}
	out.WriteString(" {\n\tswitch mutant__ {\n")
	for _, m := range ms {
		fmt.Fprintf(out, "\tcase \"%d\":\n\t\t"+call+"\n", s.ids[m], s.ids[m])
	}
	fmt.Fprintf(out, "\tdefault:\n\t\t"+call+"\n\t}\n}", 0)
	return nil
}

// writeVariants writes the function as it is, and without each of its guards. Messages of the compiler name the guard.
func (s *switches) writeVariants(out *bytes.Buffer, src *source, f *ast.FuncDecl, ms []*mutant) {
	begin, end := src.span(f)
	_, name := src.span(f.Name)
	head, tail := src.text[begin:name], src.text[name:end]
	fmt.Fprintf(out, "\n%s__0%s\n", head, tail)
	for _, m := range ms {
		tail := bytes.Replace(tail, []byte(m.old), []byte(m.new), 1)
		fmt.Fprintf(out, "\n//line %s:1\n%s__%d%s\n", m.guard, head, s.ids[m], tail)
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
