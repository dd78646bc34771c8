package journal

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"
)

// aMap is as ddrescue 1.27 writes it.
const aMap = `# Mapfile. Created by GNU ddrescue version 1.27
# Command line: ddrescue -f /dev/sdb /dev/sdc map
# Start time:   2026-11-21 10:00:00
# current_pos  current_status  current_pass
0x00120000     ?               1
#      pos        size  status
0x00000000  0x00117000  +
0x00117000  0x00000200  -
0x00117200  0x00001000  /
0x00118200  0x00007E00  *
0x00120000  0x00048000  ?
`

func TestParseMap(t *testing.T) {
	const used = "# Domain logfile created by partclone\n0x01000000     ?\n0x00000000  0x00001000  +\n0x00001000  0x00FFF000  ?\n"
	for name, c := range map[string]struct {
		text string
		want []Extent
	}{
		"ddrescue":  {aMap, []Extent{{0, 0x117000, Done, ""}, {0x117000, 512, Bad, ""}, {0x117200, 0x50E00, Pending, ""}}},
		"partclone": {used, []Extent{{0, 4096, Done, ""}, {4096, 0xFFF000, Pending, ""}}},
		"decimal":   {"0 +\n512 512 +\n1024 010 +\n1032 0 -\n", []Extent{{512, 520, Done, ""}}},
		"empty":     {"0 +\n", nil},
	} {
		got, err := ParseMap(strings.NewReader(c.text))
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, %+v", name, err, got)
		}
	}
	// A state is a map, too.
	s := example()
	got, err := ParseMap(bytes.NewReader(encode(t, s)))
	if err != nil || len(got) != 5 || got[0].Off != s.Plan.Ranges.From || got[4].end() != s.Plan.Ranges.To {
		t.Errorf("%v, %+v", err, got)
	}
}

func TestParseMapRefuses(t *testing.T) {
	for _, text := range []string{
		"", "# only comments\n", "0 1 2 3\n", "0 x\n", "x +\n", "0 + x\n", "0:0:512\n",
		"0 +\n0 512\n", "0 +\n0 512 + 1\n", "0 +\n0 512 x\n", "0 +\n0 -512 +\n", "0 +\n-1 512 +\n", "0 +\n0 0x +\n", "0 +\n0 0b1 +\n",
		"0 +\n0 1_0 +\n", "0 +\n0 09 +\n", "0 +\n0 1K +\n", "0 +\n0 512 +\n1024 512 +\n", "0 +\n0 512 +\n256 512 +\n",
		"0 +\n0x7FFFFFFFFFFFFFFF 1 +\n", "0 +\n0 9999999999999999999 +\n",
	} {
		if got, err := ParseMap(strings.NewReader(text)); !errors.Is(err, errMap) {
			t.Errorf("%q: %v, %+v", text, err, got)
		}
	}
}

// FuzzParseMap: what is accepted is in order, without gaps, and joined.
func FuzzParseMap(f *testing.F) {
	f.Add([]byte(aMap))
	f.Add([]byte("0 +\n512 512 +\n1024 010 -\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		extents, err := ParseMap(bytes.NewReader(data))
		if err != nil {
			return
		}
		for i, e := range extents {
			if e.Off < 0 || e.Len <= 0 || e.end() < e.Off || i > 0 && (extents[i-1].end() != e.Off || extents[i-1].joins(e)) {
				t.Fatalf("%+v", extents)
			}
		}
	})
}
