package main

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/dmcopy/dmcopy/test/golden"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"dmcopy": main, "dmcopy-crash": crash})
}

func TestScripts(t *testing.T) {
	stacks, err := filepath.Abs("testdata/stacks")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:           "testdata/script",
		UpdateScripts: *golden.Update,
		Setup: func(env *testscript.Env) error {
			env.Setenv("STACKS", stacks)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": wantExit, "lines": objectLines, "json": jsonField, "random": random, "patch": patch, "truncated": truncated,
		},
	})
}

// wantExit runs dmcopy and wants an exit code: exits 6 copy a b.
func wantExit(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 {
		ts.Fatalf("usage: exits CODE ARGS…")
	}
	err := ts.Exec("dmcopy", args[1:]...)
	code := "0"
	if err != nil {
		code = strings.TrimPrefix(err.Error(), "exit status ")
	}
	if code != args[0] {
		ts.Fatalf("dmcopy %s: exit code %s, want %s", strings.Join(args[1:], " "), code, args[0])
	}
}

// jsonField wants stdout to be one JSON value, and a field of it to have a
// value: json totals.bytes_total 512. Numbers are positions in lists.
func jsonField(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 0 && len(args) != 2 {
		ts.Fatalf("usage: json [PATH VALUE]")
	}
	dec := json.NewDecoder(strings.NewReader(ts.ReadFile("stdout")))
	dec.UseNumber()
	var v any
	ts.Check(dec.Decode(&v))
	if _, err := dec.Token(); err != io.EOF {
		ts.Fatalf("more than one JSON value on stdout")
	}
	if len(args) == 0 {
		return
	}
	for key := range strings.SplitSeq(args[0], ".") {
		switch node := v.(type) {
		case map[string]any:
			next, ok := node[key]
			if !ok {
				ts.Fatalf("%s: there is no %s", args[0], key)
			}
			v = next
		case []any:
			i, err := strconv.Atoi(key)
			if err != nil || i >= len(node) {
				ts.Fatalf("%s: there is no item %s of %d", args[0], key, len(node))
			}
			v = node[i]
		default:
			ts.Fatalf("%s: %v has no fields", args[0], v)
		}
	}
	text, err := json.Marshal(v)
	ts.Check(err)
	got := strings.Trim(string(text), `"`)
	if (got == args[1]) == neg {
		ts.Fatalf("%s is %s, want %s (negated: %v)", args[0], got, args[1], neg)
	}
}

// objectLines wants every line of stderr to be one JSON object, that says what it is.
func objectLines(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) > 0 {
		ts.Fatalf("usage: lines")
	}
	for text := range strings.Lines(ts.ReadFile("stderr")) {
		var object struct {
			Type string `json:"message_type"`
		}
		if err := json.Unmarshal([]byte(text), &object); err != nil || object.Type == "" {
			ts.Fatalf("%v: %s", err, text)
		}
	}
}

// random writes a file that repeats only after a long time: random FILE SIZE.
func random(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: random FILE SIZE")
	}
	size, err := strconv.Atoi(args[1])
	ts.Check(err)
	data := make([]byte, size)
	state := uint32(1)
	for i := range data {
		state = state*1664525 + 1013904223
		data[i] = byte(state >> 24)
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), data, 0o600))
}

// patch changes the byte of a file at each offset: patch FILE OFFSET….
func patch(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: patch FILE OFFSET…")
	}
	path := ts.MkAbs(args[0])
	data, err := os.ReadFile(path)
	ts.Check(err)
	for _, arg := range args[1:] {
		off, err := strconv.Atoi(arg)
		ts.Check(err)
		data[off] ^= 0xff
	}
	ts.Check(os.WriteFile(path, data, 0o600))
}

// truncated cuts a file off: truncated FILE SIZE.
func truncated(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: truncated FILE SIZE")
	}
	size, err := strconv.ParseInt(args[1], 10, 64)
	ts.Check(err)
	ts.Check(os.Truncate(ts.MkAbs(args[0]), size))
}

// TestStacks makes sure that every snapshot is used by a script.
func TestStacks(t *testing.T) {
	scripts, err := filepath.Glob("testdata/script/*.txtar")
	if err != nil || len(scripts) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	var all [][]byte
	for _, path := range scripts {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, text)
	}
	stacks, err := os.ReadDir("testdata/stacks")
	if err != nil {
		t.Fatal(err)
	}
	for _, stack := range stacks {
		if !slices.ContainsFunc(all, func(text []byte) bool { return bytes.Contains(text, []byte(stack.Name())) }) {
			t.Errorf("no script uses %s", stack.Name())
		}
	}
}
