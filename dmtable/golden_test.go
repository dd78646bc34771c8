package dmtable

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/dmcopy/dmcopy/dmtable/exstore"
	"github.com/dmcopy/dmcopy/dmtable/integritysb"
	"github.com/dmcopy/dmcopy/remap"
)

// tb is what helpers need of a testing.T, testing.F or rapid.T.
type tb interface {
	Helper()
	Fatal(...any)
	Fatalf(string, ...any)
}

// A vector is a table and what it maps, in testdata/<type>.txt: lines as
// dmsetup prints them, each followed by "status TEXT" if it has a status line, and
// by what was read of its metadata, as JSON: see attachments. Then queries
// "read START LENGTH", each with its answers
// indented below. An empty line ends the vector.
//
// A line "trust verity" or "trust integrity" says what the operator trusts.
type vector struct {
	name    string
	trust   Trust
	lines   []string
	queries []query
}

type query struct {
	op       remap.Op
	start, n remap.Sector
	want     []string
}

func readVectors(t testing.TB, path string) []vector {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var vectors []vector
	for _, block := range strings.Split(strings.TrimSpace(string(text)), "\n\n") {
		v := vector{name: fmt.Sprint(len(vectors))}
		for _, line := range strings.Split(block, "\n") {
			words := strings.Fields(line)
			switch {
			case words[0] == "#":
				v.name = strings.TrimPrefix(line, "# ")
			case words[0] == "trust":
				v.trust.Verity = v.trust.Verity || words[1] == "verity"
				v.trust.Integrity = v.trust.Integrity || words[1] == "integrity"
			case words[0] == "read" || words[0] == "write":
				q := query{op: remap.Read, start: parseInt(t, words[1]), n: parseInt(t, words[2])}
				if words[0] == "write" {
					q.op = remap.Write
				}
				v.queries = append(v.queries, q)
			case line[0] == '\t':
				q := &v.queries[len(v.queries)-1]
				q.want = append(q.want, line[1:])
			default:
				v.lines = append(v.lines, line)
			}
		}
		if len(v.queries) == 0 || len(v.queries[0].want) == 0 {
			t.Fatalf("%s: vector %s asks nothing", path, v.name)
		}
		vectors = append(vectors, v)
	}
	return vectors
}

func parseInt(t tb, s string) remap.Sector {
	t.Helper()
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return remap.Sector(n)
}

// tableOf makes a table of lines the way a live one is made.
func tableOf(t tb, lines ...string) *Table {
	t.Helper()
	table := &Table{Info: Info{Active: true}}
	var k keeper
	for _, text := range lines {
		if isAttachment(text) {
			attach(t, &table.Targets[len(table.Targets)-1], text)
			continue
		}
		words := append(strings.SplitN(text, " ", 4), "")
		target, err := k.keep(line{
			start: uint64(parseInt(t, words[0])), length: uint64(parseInt(t, words[1])),
			typ: []byte(words[2]), params: []byte(words[3]),
		})
		if err != nil {
			t.Fatal(err)
		}
		table.Targets = append(table.Targets, target)
	}
	return table
}

// attachments are the lines of a vector that belong to the line above: what was
// read besides the table.
var attachments = []string{"status ", "exceptions ", "thin ", "super ", "member "}

func isAttachment(line string) bool {
	return slices.ContainsFunc(attachments, func(kind string) bool { return strings.HasPrefix(line, kind) })
}

// attach gives a target what an attachment says.
func attach(t tb, target *Target, line string) {
	t.Helper()
	kind, text, _ := strings.Cut(line, " ")
	var into any
	switch kind {
	case "status":
		target.Status = text
		return
	case "exceptions":
		target.Exceptions = new(exstore.Store)
		into = target.Exceptions
	case "thin":
		target.Thin = new(Thin)
		into = target.Thin
	case "super":
		target.Integrity.Super = new(integritysb.Super)
		into = target.Integrity.Super
	case "member":
		target.RaidSuper = new(RaidSuper)
		into = target.RaidSuper
	}
	if err := json.Unmarshal([]byte(text), into); err != nil {
		t.Fatal(err)
	}
}

// walk asks for a range until it is covered.
func walk(t testing.TB, l remap.Layer, op remap.Op, s, n remap.Sector) []string {
	t.Helper()
	var got []string
	for n > 0 {
		p := l.Map(op, s, n)
		if p.Len < 1 || p.Len > n {
			t.Fatalf("Map(%v, %d, %d) is %d sectors long", op, s, n, p.Len)
		}
		got = append(got, fmt.Sprintf("%d +%d -> %s", s, p.Len, describe(p)))
		s, n = s+p.Len, n-p.Len
	}
	return got
}

func describe(p remap.Place) string {
	switch p.Kind {
	case remap.Data:
		return fmt.Sprintf("%s:%d", p.Leg.Dev, p.Leg.Start)
	case remap.Replica:
		text := "replica"
		for _, leg := range p.Legs {
			text += fmt.Sprintf(" %s:%d", leg.Dev, leg.Start)
			if !leg.Readable {
				text += "!"
			}
		}
		return text
	case remap.Zero:
		return "zero"
	case remap.Cipher:
		return fmt.Sprintf("cipher %s:%d iv %d", p.Leg.Dev, p.Leg.Start, p.IV)
	}
	if p.Blank > 0 {
		return fmt.Sprintf("%s %s blank %d", p.Kind, p.Reason, p.Blank)
	}
	return fmt.Sprintf("%s %s", p.Kind, p.Reason)
}

func TestVectors(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no vectors", err)
	}
	for _, file := range files {
		for _, v := range readVectors(t, file) {
			t.Run(filepath.Base(file)+"/"+v.name, func(t *testing.T) {
				l := tableOf(t, v.lines...).TrustedLayer(v.trust)
				for _, q := range v.queries {
					if got := walk(t, l, q.op, q.start, q.n); !slices.Equal(got, q.want) {
						t.Errorf("%s [%d,+%d)\n got %q\nwant %q", q.op, q.start, q.n, got, q.want)
					}
				}
			})
		}
	}
}

// Every type that is mapped has vectors for lines that are accepted and for
// lines that are not, and a seed for the fuzzer.
func TestEveryTargetIsTested(t *testing.T) {
	for typ := range targets {
		var accepted, rejected bool
		for _, v := range readVectors(t, filepath.Join("testdata", typ+".txt")) {
			table := tableOf(t, v.lines...)
			for i := range table.Targets {
				if table.Targets[i].Type != typ {
					continue
				}
				m, opaque := new(lineParser).parse(&table.Targets[i]).(*opaque)
				unparsed := opaque && strings.HasSuffix(string(m.reason), "-unparsed")
				accepted = accepted || !unparsed
				rejected = rejected || unparsed
			}
		}
		if !accepted || !rejected {
			t.Errorf("%s: vectors with accepted lines: %v, with rejected lines: %v", typ, accepted, rejected)
		}
		seed, err := os.ReadFile(filepath.Join("testdata/fuzz/FuzzLine", typ))
		if err != nil || !strings.Contains(string(seed), strconv.Quote(typ)) {
			t.Errorf("%s: no fuzz seed of that type: %v", typ, err)
		}
	}
}

func TestBelow(t *testing.T) {
	table := tableOf(t, "0 8 linear 8:16 0", "8 8 linear 8:32 0", "16 8 linear 8:16 8", "24 8 zoned 253:9 1", "32 8 linear 8:99")
	table.Deps = []remap.Dev{{Major: 253, Minor: 9}, {Major: 8, Minor: 32}}
	want := []remap.Dev{{Major: 253, Minor: 9}, {Major: 8, Minor: 32}, {Major: 8, Minor: 16}}
	if got := table.Layer().Below(); !slices.Equal(got, want) {
		t.Errorf("below %v, want %v", got, want)
	}
	want = []remap.Dev{{Major: 8, Minor: 16}, {Major: 8, Minor: 32}}
	if got := table.Named(); !slices.Equal(got, want) {
		t.Errorf("named %v, want %v", got, want)
	}
}

func TestNoTable(t *testing.T) {
	table := &Table{Deps: []remap.Dev{{Major: 8}}}
	p := table.Layer().Map(remap.Read, 0, 8)
	if p.Kind != remap.Opaque || p.Reason != ReasonNoTable || p.Len != 8 || len(table.Layer().Below()) != 1 {
		t.Errorf("a device without a table maps to %+v", p)
	}
}
