package failure_test

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/dmcopy/dmcopy/internal/dispatch/failure"
)

// TestNames: what a message says can be read, and what it tells to run can be run.
func TestNames(t *testing.T) {
	for name, want := range map[string]struct{ shown, word string }{
		"/dev/vg/home": {"/dev/vg/home", "/dev/vg/home"},
		"my disk":      {"my disk", "'my disk'"},
		" ":            {`" "`, "' '"},
		"":             {`""`, "''"},
		"it's":         {"it's", `'it'\''s'`},
		"two\nlines":   {`two\nlines`, `$'two\nlines'`},
		"\x1b[2J'\\":   {"\x1b[2J'\\", `$'\x1b[2J\'\\'`},
		"$(reboot);#":  {"$(reboot);#", "'$(reboot);#'"},
		"größe":        {"größe", "größe"},
		"ü\n":          {`"ü\n"`, `$'\xc3\xbc\n'`},
	} {
		if got := failure.Quote(name); got != want.shown {
			t.Errorf("%q is shown as %s, want %s", name, got, want.shown)
		}
		word := failure.ShellQuote(name)
		if word != want.word {
			t.Errorf("%q is the word %s, want %s", name, word, want.word)
		}
		out, err := exec.Command("bash", "-c", "printf %s. "+word).CombinedOutput()
		if err != nil || strings.TrimSuffix(string(out), ".") != name {
			t.Errorf("%q is taken as %q, %v", name, out, err)
		}
	}
}
