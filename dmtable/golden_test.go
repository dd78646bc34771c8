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
	"github.com/dmcopy/dmcopy/test/golden"
)

// A vector is a table, in testdata/<type>.txt: lines as
// dmsetup prints them, each followed by "status TEXT" if it has a status line, and
// by what was read of its metadata, as JSON: see attachments.
//
// A line "trust verity" or "trust integrity" says what the operator trusts.
type vector struct {
	trust Trust
	lines []string
}

// vectors are those of testdata/<typ>.txt.
func vectors(t testing.TB, typ string) (all []vector) {
	t.Helper()
	for _, c := range golden.Cases(t, filepath.Join("testdata", typ+".txt")) {
		all = append(all, vectorOf(c.About))
	}
	return all
}

func vectorOf(about []string) (v vector) {
	for _, line := range about {
		switch line {
		case "trust verity":
			v.trust.Verity = true
		case "trust integrity":
			v.trust.Integrity = true
		default:
			v.lines = append(v.lines, line)
		}
	}
	return v
}

func parseInt(t golden.TB, s string) remap.Sector {
	t.Helper()
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return remap.Sector(n)
}

// tableOf makes a table of lines the way a live one is made.
func tableOf(t golden.TB, lines ...string) *Table {
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
func attach(t golden.TB, target *Target, line string) {
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
	golden.Check(t, func(t *testing.T, about []string) func([]string) []string {
		v := vectorOf(about)
		l := tableOf(t, v.lines...).TrustedLayer(v.trust)
		return func(words []string) []string {
			op, start, n := golden.Range(t, words)
			return golden.Walk(t, l, op, start, n, func(_ remap.Sector, p remap.Place) string { return describe(p) })
		}
	})
}

// Every type that is mapped has vectors for lines that are accepted and for
// lines that are not, and a seed for the fuzzer.
func TestEveryTargetIsTested(t *testing.T) {
	for typ := range targets {
		var accepted, rejected bool
		for _, v := range vectors(t, typ) {
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
