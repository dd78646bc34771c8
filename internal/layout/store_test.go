package layout_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dmcopy/dmcopy/dmtable"
	"github.com/dmcopy/dmcopy/internal/layout"
	"github.com/dmcopy/dmcopy/remap"
)

// disk and linear are nodes of captures that are made by hand.
func disk(dev string) string {
	return fmt.Sprintf(`{"dev":%q,"name":"disk%s","kind":"scsi","size":2048,"logical_block":512,"physical_block":512,"zoned":"none","write_cache":"write back","disk":{}}`,
		dev, strings.ReplaceAll(dev, ":", "-"))
}

func linear(dev, below string) string {
	return fmt.Sprintf(`{"dev":%q,"name":"dm%s","kind":"dm","size":8,"logical_block":512,"physical_block":512,"zoned":"none","write_cache":"write back","slaves":[%q],
"dm":{"dev":%q,"name":"x","open_count":0,"active":true,"targets":[{"start":0,"length":8,"type":"linear","params":"%s 0"}],"deps":[%q]}}`,
		dev, strings.ReplaceAll(dev, ":", "-"), below, dev, below, below)
}

func capture(nodes ...string) string {
	return `{"schema":1,"created":"2026-01-02T03:04:05Z","kernel":"6.12","nodes":[` + strings.Join(nodes, ",\n") + `]}`
}

func load(text string) (*remap.Stack, error) {
	s, err := layout.Load(strings.NewReader(text))
	if err != nil {
		return nil, err
	}
	return s.Stack()
}

func TestLoad(t *testing.T) {
	st, err := load(capture(disk("8:0"), linear("253:0", "8:0")))
	if err != nil || len(st.Nodes()) != 2 {
		t.Fatalf("%v, %v", st, err)
	}
	edit := func(node, old, new string) string {
		if !strings.Contains(node, old) {
			t.Fatalf("%q is not in %s", old, node)
		}
		return strings.Replace(node, old, new, 1)
	}
	lin := linear("253:0", "8:0")
	for what, test := range map[string]struct {
		text string
		want error
		name string // what the error has to name
	}{
		"empty":                  {"", layout.ErrFormat, ""},
		"not JSON":               {"hello", layout.ErrFormat, ""},
		"another JSON":           {`{"a":1}`, layout.ErrFormat, "schema"},
		"schema 0":               {`{"schema":0,"nodes":[]}`, layout.ErrFormat, "schema"},
		"newer schema":           {`{"schema":2,"nodes":[{"new":1}]}`, layout.ErrSchema, "schema 2"},
		"truncated":              {capture(disk("8:0"))[:150], layout.ErrFormat, ""},
		"two of them":            {capture() + capture(), layout.ErrFormat, ""},
		"unknown field":          {edit(capture(disk("8:0")), `"zoned"`, `"zone"`), layout.ErrFormat, "zone"},
		"bad device number":      {edit(capture(disk("8:0")), `"8:0"`, `"8"`), layout.ErrFormat, "8"},
		"huge device number":     {edit(capture(disk("8:0")), `"8:0"`, `"8:1048576"`), layout.ErrFormat, "1048576"},
		"size is text":           {edit(capture(disk("8:0")), `2048`, `"2048"`), layout.ErrFormat, "size"},
		"size overflows":         {edit(capture(disk("8:0")), `2048`, `99999999999999999999`), layout.ErrFormat, "size"},
		"negative size":          {edit(capture(disk("8:0")), `2048`, `-1`), remap.ErrBadNode, "disk8-0"},
		"no block size":          {edit(capture(disk("8:0")), `"logical_block":512`, `"logical_block":0`), remap.ErrBadNode, "disk8-0"},
		"no name":                {edit(capture(disk("8:0")), `disk8-0`, ``), layout.ErrImpossible, "8:0"},
		"name with a slash":      {edit(capture(disk("8:0")), `disk8-0`, `../sda`), layout.ErrImpossible, "8:0"},
		"name with a newline":    {edit(capture(disk("8:0")), `disk8-0`, `a\nb`), layout.ErrImpossible, "8:0"},
		"no kind":                {edit(capture(disk("8:0")), `"scsi"`, `""`), layout.ErrImpossible, "disk8-0"},
		"partition of nothing":   {edit(capture(disk("8:0")), `"scsi"`, `"partition"`), layout.ErrImpossible, "disk8-0"},
		"duplicate":              {capture(disk("8:0"), disk("8:0")), remap.ErrDuplicate, "disk8-0"},
		"missing device":         {capture(lin), remap.ErrUnknownDevice, "8:0"},
		"on itself":              {capture(linear("253:0", "253:0")), remap.ErrCycle, "dm253-0"},
		"cycle":                  {capture(linear("253:0", "253:1"), linear("253:1", "253:0")), remap.ErrCycle, "dm253-"},
		"table of another":       {capture(disk("8:0"), edit(lin, `"dm":{"dev":"253:0"`, `"dm":{"dev":"253:1"`)), layout.ErrImpossible, "dm253-0"},
		"table of a disk":        {capture(disk("8:0"), edit(lin, `"kind":"dm"`, `"kind":"scsi"`)), layout.ErrImpossible, "dm253-0"},
		"negative target":        {capture(disk("8:0"), edit(lin, `"start":0`, `"start":-1`)), dmtable.ErrBadTable, "dm253-0"},
		"endless target":         {capture(disk("8:0"), edit(lin, `"length":8`, `"length":9223372036854775807`)), dmtable.ErrBadTable, "dm253-0"},
		"secret parameters":      {capture(disk("8:0"), edit(lin, `"type":"linear"`, `"type":"crypt"`)), dmtable.ErrBadTable, "dm253-0"},
		"partition from nowhere": {capture(edit(edit(disk("8:0"), `"scsi"`, `"partition"`), `"disk":{}`, `"partition":{"number":1,"start":-5,"parent":"8:0"}`)), layout.ErrImpossible, "disk8-0"},
	} {
		st, err := load(test.text)
		if !errors.Is(err, test.want) || err == nil || !strings.Contains(err.Error(), test.name) {
			t.Errorf("%s: %v, %v; want %v that names %q", what, st, err, test.want, test.name)
		}
	}
}

// A line that lies resolves to something opaque, not to a place.
func TestLoadedLies(t *testing.T) {
	for params, want := range map[string]remap.Reason{
		"8:0 2047":   remap.ReasonBadMap, // ends behind the disk
		"8:0 99999":  remap.ReasonBadMap,
		"8:0 x":      "layer:linear-unparsed",
		"8:0 0 more": "layer:linear-unparsed",
	} {
		st, err := load(capture(disk("8:0"), strings.Replace(linear("253:0", "8:0"), "8:0 0", params, 1)))
		if err != nil {
			t.Errorf("%s: %v", params, err)
			continue
		}
		for e, err := range st.Resolve(remap.Write, remap.Range{Dev: remap.Dev{Major: 253}, Len: 8}) {
			if err != nil || e.Kind != remap.Opaque || e.Reason != want {
				t.Errorf("%s: %+v, %v", params, e, err)
			}
		}
	}
}

// A tower of devices is refused, in little memory.
func TestLoadedTower(t *testing.T) {
	nodes := []string{disk("8:0"), linear("253:0", "8:0")}
	for i := 1; i < 5000; i++ {
		nodes = append(nodes, linear(fmt.Sprintf("253:%d", i), fmt.Sprintf("253:%d", i-1)))
	}
	if _, err := load(capture(nodes...)); !errors.Is(err, remap.ErrTooDeep) {
		t.Error(err)
	}
	many := make([]string, 1<<16+1)
	for i := range many {
		many[i] = disk(fmt.Sprintf("8:%d", i))
	}
	if _, err := load(capture(many...)); !errors.Is(err, layout.ErrFormat) {
		t.Error(err)
	}
}

// A reader that never ends is given up.
func TestEndlessInput(t *testing.T) {
	if _, err := layout.Load(endless{}); !errors.Is(err, layout.ErrFormat) {
		t.Error(err)
	}
	broken := io.MultiReader(strings.NewReader(`{"schema":1`), errorReader{})
	if _, err := layout.Load(broken); !errors.Is(err, io.ErrClosedPipe) {
		t.Error(err)
	}
}

type endless struct{}

func (endless) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = ' '
	}
	return len(b), nil
}

type errorReader struct{}

func (errorReader) Read([]byte) (int, error) { return 0, io.ErrClosedPipe }

func TestWriteFails(t *testing.T) {
	s := newRig(t).read(t)
	if err := s.Write(errorWriter{}); !errors.Is(err, io.ErrClosedPipe) {
		t.Error(err)
	}
}

type errorWriter struct{}

func (errorWriter) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

// The stored form is a contract: captures of today have to load tomorrow.
// UPDATE_GOLDEN=1 rewrites the file.
func TestStoredForm(t *testing.T) {
	s := newRig(t).read(t)
	s.Created = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for i := range s.Nodes { // each process has digests of its own
		if dm := s.Nodes[i].DM; dm != nil && dm.Targets[0].Crypt != nil {
			dm.Targets[0].Crypt.KeyDigest = "00112233445566778899aabbccddeeff"
		}
	}
	var got bytes.Buffer
	if err := s.Write(&got); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join("testdata", "rig.json")
	if os.Getenv("UPDATE_GOLDEN") != "" {
		if err := os.WriteFile(path, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got.String() != string(file) {
		t.Errorf("got\n%s\nwant\n%s", got.String(), file)
	}
	if _, err := layout.Load(bytes.NewReader(file)); err != nil {
		t.Error(err)
	}
}

// Whatever is loaded ends in a stack whose ranges resolve without gaps, or in
// an error.
func FuzzLoad(f *testing.F) {
	file, err := os.ReadFile(filepath.Join("testdata", "rig.json"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(file)
	f.Add([]byte(capture(disk("8:0"), linear("253:0", "8:0"))))
	f.Add([]byte(capture(linear("253:0", "253:1"), linear("253:1", "253:0"))))
	f.Add([]byte(`{"schema":1,"nodes":[{"dev":"8:0","name":"a","kind":"partition","size":8,"logical_block":512,"partition":{"number":1,"start":8,"parent":"8:1"}}]}`))
	for _, path := range zooFiles(f) {
		s := zoo(f, path)
		for i := range s.Nodes { // small inputs get further
			if s.Nodes[i].DM != nil {
				f.Add(captured(f, s, i))
			}
		}
	}
	for _, s := range []*layout.Snapshot{newThinRig(f).read(f), arrays(f)} {
		for i := range s.Nodes {
			f.Add(captured(f, s, i))
		}
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := layout.Load(bytes.NewReader(text))
		if err != nil {
			return
		}
		st, err := s.Trusting(layout.Trust{Verity: true, Integrity: true}).Stack()
		if err != nil {
			return
		}
		for _, n := range st.Nodes() {
			for _, op := range []remap.Op{remap.Read, remap.Write} {
				checkCovered(t, st, op, remap.Range{Dev: n.Dev, Len: n.Size})
				checkCovered(t, st, op, remap.Range{Dev: n.Dev, Start: n.Size / 2, Len: n.Size / 4})
			}
		}
	})
}

// captured is the capture of one device and of what lies below it.
func captured(t testing.TB, s *layout.Snapshot, i int) []byte {
	t.Helper()
	st := stackOf(t, s)
	one := *s
	one.Nodes = nil
	for _, n := range st.Under(s.Nodes[i].Dev) {
		for _, node := range s.Nodes {
			if node.Dev == n.Dev {
				one.Nodes = append(one.Nodes, node)
			}
		}
	}
	var text bytes.Buffer
	if err := one.Write(&text); err != nil {
		t.Fatal(err)
	}
	return text.Bytes()
}

// checkCovered fails unless the first extents of a range follow each other to its
// end, and what has a place lies on its leaf.
func checkCovered(t *testing.T, st *remap.Stack, op remap.Op, r remap.Range) {
	t.Helper()
	next, extents := r.Start, 0
	for e, err := range st.Resolve(op, r) {
		if err != nil {
			t.Fatalf("%v: %v", r, err)
		}
		if e.Start != next || e.Len < 1 || e.End() > r.End() {
			t.Fatalf("%v: extent %+v at %d", r, e, next)
		}
		legs := e.Legs
		if e.Kind == remap.Data || e.Kind == remap.Cipher {
			legs = []remap.Leg{e.Leg}
		}
		for _, leg := range legs {
			if n := st.Node(leg.Dev); leg.Start < 0 || n.Leaf == nil || leg.Start+e.Len > n.Size {
				t.Fatalf("%v: extent %+v is not on its leaf", r, e)
			}
		}
		if next, extents = e.End(), extents+1; extents > 200 {
			return
		}
	}
	if next != r.End() {
		t.Fatalf("%v is covered up to %d", r, next)
	}
}
