package rows

import (
	"encoding/json"
	"errors"
	"math"
	"slices"
	"testing"
)

func parse(text string, width int) (table [][]uint64, err error) {
	err = Parse([]byte(text), width, func(row []uint64) error {
		table = append(table, slices.Clone(row))
		return nil
	})
	return table, err
}

func TestRoundTrip(t *testing.T) {
	var text []byte
	for _, row := range [][]uint64{{1, 2}, {0, math.MaxUint64}, {7, 10}} {
		text = Append(text, row...)
	}
	text = Close(text)
	if want := `[[1,2],[0,18446744073709551615],[7,10]]`; string(text) != want {
		t.Errorf("%s", text)
	}
	table, err := parse(string(text), 2)
	if err != nil || len(table) != 3 || table[1][1] != math.MaxUint64 {
		t.Errorf("%v, %v", table, err)
	}
	if empty := Close(nil); string(empty) != "[]" {
		t.Errorf("%s", empty)
	}
	if table, err := parse(" [ ]\n", 2); err != nil || len(table) != 0 {
		t.Errorf("%v, %v", table, err)
	}
	if table, err := parse("\t[ [ 1\r, 2 ] , [3,4]\n]\n", 2); err != nil || len(table) != 2 {
		t.Errorf("%v, %v", table, err)
	}
}

func TestSyntax(t *testing.T) {
	for _, text := range []string{
		"", "null", "[", "]", "[]]", "[],", "[[1,2]", "[[1,2],]", "[,[1,2]]", "[[1,2][3,4]]", "[1,2]", "[[1]]", "[[1,2,3]]", "[[]]",
		"[[1,2,]]", "[[,1,2]]", "[[1 2]]", "[[1,null]]", "[[1,-2]]", "[[1,+2]]", "[[1,2.0]]", "[[1,2e3]]", "[[1,02]]", "[[1,00]]",
		`[["1","2"]]`, "[[1,18446744073709551616]]", "[[1,184467440737095516150]]", "[[1,0x2]]", "[{1,2}]",
	} {
		if table, err := parse(text, 2); !errors.Is(err, errSyntax) {
			t.Errorf("%s: %v, %v", text, table, err)
		}
	}
}

// TestStop: the error of the visitor ends the table.
func TestStop(t *testing.T) {
	stop := errors.New("stop")
	if err := Parse([]byte("[[1],[2]] junk"), 1, func([]uint64) error { return stop }); err != stop {
		t.Error(err)
	}
}

// FuzzParse: what is accepted is JSON, and means the same to encoding/json.
func FuzzParse(f *testing.F) {
	f.Add([]byte("[[1,2,3],[4,5,18446744073709551615]]"))
	f.Add([]byte(" [ [ 0 , 0 , 10 ] ] "))
	f.Add([]byte("[]"))
	f.Fuzz(func(t *testing.T, text []byte) {
		table, err := parse(string(text), 3)
		if err != nil {
			return
		}
		var want [][]uint64
		if err := json.Unmarshal(text, &want); err != nil || !slices.EqualFunc(table, want, slices.Equal) {
			t.Fatalf("%v, encoding/json reads %v, %v", table, want, err)
		}
	})
}
