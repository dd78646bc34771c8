package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// example prints what each kind of function says of its guard.
const example = `package main

import "fmt"

type list[T any] struct{ of []T }

func (l *list[T]) first() (v T, ok bool) {
	if len(l.of) > 0 {
		return l.of[0], true
	}
	return v, false
}

func (list[T]) kind(int, ...string) string { return "guard 2" }

func sum[N int | float64](_ string, numbers ...N) (total N) {
	for _, n := range numbers {
		total += n
	}
	return total
}

func main() {
	l := list[int]{[]int{7}}
	v, ok := l.first()
	fmt.Print(v, ok, " ", l.kind(1, "a", "b"), " ", sum("", 1.5, 2), " ", fallback)
	tell()
}

func tell() {
	fmt.Print(" guard 4")
	fmt.Print(" and more")
}

var fallback = "guard 5"
`

// TestSwitches: one program is each mutant in turn, or none.
func TestSwitches(t *testing.T) {
	root := t.TempDir()
	for name, text := range map[string]string{"go.mod": "module example\n\ngo 1.25\n", "main.go": example} {
		if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(root)
	ms := []*mutant{
		{guard: "1: of a method", symbol: "main.list.first", old: "len(l.of) > 0", new: "false"},
		{guard: "2: where names are missing", symbol: "main.list.kind", old: `"guard 2"`, new: `"gone"`},
		{guard: "3: of a generic function", symbol: "main.sum", old: "total += n", new: "_ = n"},
		{guard: "4: without results", symbol: "main.tell", old: "guard 4", new: "gone"},
		{guard: "5: outside of functions", symbol: "main.fallback", old: "guard 5", new: "gone"},
		{guard: "6: in a guest", symbol: "main.tell", old: "and more", new: "gone", guest: true},
	}
	l, err := newLaboratory(root, ms)
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()
	for i, m := range ms {
		if _, ok := l.switches.ids[m]; ok != (i < 4) {
			t.Errorf("%s: switched: %v", m.guard, ok)
		}
	}
	binary := filepath.Join(t.TempDir(), "program")
	if out, err := l.command(t.Context(), "", l.overlay, []string{"build", "-o", binary, "."}).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	says := func(choice string) string {
		if err := os.WriteFile(l.choice(), []byte(choice), 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := exec.CommandContext(t.Context(), binary).CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return string(out)
	}
	const whole = "7 true guard 2 3.5 guard 5 guard 4 and more"
	if got := says(""); got != whole {
		t.Errorf("without a mutant: %q", got)
	}
	for i, want := range []string{
		strings.Replace(whole, "7 true", "0 false", 1),
		strings.Replace(whole, "guard 2", "gone", 1),
		strings.Replace(whole, "3.5", "0", 1),
		strings.Replace(whole, "guard 4", "gone", 1),
	} {
		if got := says(strconv.Itoa(l.switches.ids[ms[i]])); got != want {
			t.Errorf("%s: %q, want %q", ms[i].guard, got, want)
		}
	}
}
