package golden

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/dmcopy/dmcopy/remap"
)

const whole = "# a name\nabout this\nand that\nread 0 8\n\t0 +8 -> a\nnotes\n\nabout another\nerror\n\tone\n\ttwo\n"

func TestParse(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cases.txt")
	write(t, path, []byte(whole))
	cases := Cases(t, path)
	if len(cases) != 2 || cases[0].Name != "a name" || cases[1].Name != "about another" || !slices.Equal(cases[0].About, []string{"about this", "and that"}) {
		t.Fatalf("%+v", cases)
	}
	if q := cases[0].asked; len(q) != 2 || q[0].line != "read 0 8" || !slices.Equal(q[0].answers, []string{"0 +8 -> a"}) || len(q[1].answers) != 0 {
		t.Errorf("%+v", q)
	}
	cases[0].asked[1].answers = []string{"new"}
	if want := strings.Replace(whole, "notes\n", "notes\n\tnew\n", 1); string(format(cases)) != want {
		t.Errorf("%s", format(cases))
	}
}

// TestMalformed: what would be lost when a file is rewritten, or checks nothing, is an error.
func TestMalformed(t *testing.T) {
	for name, text := range map[string]string{
		"no question":               "about this\n",
		"an answer to no question":  "about this\n\tone\n",
		"a line behind a question":  "about this\nread 0 8\n\tone\nabout that\n",
		"a second empty line":       "about this\nread 0 8\n\n\nabout that\nread 0 8\n",
		"an empty line at the end":  "about this\nread 0 8\n\n",
		"an end without a new line": "about this\nread 0 8",
		"nothing":                   "",
	} {
		path := filepath.Join(t.TempDir(), "cases.txt")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if failed := fails(func(t TB) { Cases(t, path) }); failed == "" {
			t.Errorf("%s is no error", name)
		}
	}
}

// odd is a layer that answers with the length it has.
type odd remap.Sector

func (o odd) Map(remap.Op, remap.Sector, remap.Sector) remap.Place {
	return remap.Place{Len: remap.Sector(o)}
}
func (odd) Below() []remap.Dev { return nil }

func TestWalk(t *testing.T) {
	text := func(s remap.Sector, _ remap.Place) string { return fmt.Sprint("at ", s) }
	if got := Walk(t, odd(4), remap.Read, 8, 8, text); !slices.Equal(got, []string{"8 +4 -> at 8", "12 +4 -> at 12"}) {
		t.Errorf("%q", got)
	}
	for _, n := range []odd{0, -1, 3} {
		if failed := fails(func(t TB) { Walk(t, n, remap.Read, 8, 4, text) }); failed == "" {
			t.Errorf("answers of %d sectors to 4 are no error", n)
		}
	}
}

// failing is a TB whose tests end with a panic.
type failing struct{}

func (failing) Helper()                           {}
func (failing) Fatal(args ...any)                 { panic(fmt.Sprint(args...)) }
func (failing) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }

func fails(test func(TB)) (why string) {
	defer func() {
		if r := recover(); r != nil {
			why = r.(string)
		}
	}()
	test(failing{})
	return ""
}
