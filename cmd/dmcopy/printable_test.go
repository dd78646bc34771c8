package main

import (
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"pgregory.net/rapid"
)

func TestPrintable(t *testing.T) {
	for text, want := range map[string]string{
		"plain ü 名 👍\n\t.":          "plain ü 名 👍\n\t.",
		"\x1b[2J\x07\r\x00\x7f":     `\u001b[2J\u0007\u000d\u0000\u007f`,
		"\u009b2J":                  `\u009b2J`,               // CSI as one character (ECMA-48)
		"\x9b2J\xff":                `\x9b2J\xff`,             // and as one byte
		"a\u202eb\u2028c\u200bd":    `a\u202eb\u2028c\u200bd`, // directions, lines, nothing at all
		"\U000e0041":                `\udb40\udc41`,           // invisible letters
		"\ufffd and \xc3":           "\ufffd and \\xc3",       // the character itself, and half of one
		`C:\x1b is no escape of it`: `C:\x1b is no escape of it`,
	} {
		text, rest := printable([]byte(text))
		for _, c := range rest {
			text = append(text, []byte(`\x`+strings.ToLower(string("0123456789abcdef"[c>>4])+string("0123456789abcdef"[c&15])))...)
		}
		if string(text) != want {
			t.Errorf("%q, want %q", text, want)
		}
	}
}

// Whatever is written, in whatever pieces: what comes out is text without control
// characters, and the same if it was that already.
func TestFilter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var in []byte
		for _, piece := range rapid.SliceOf(rapid.SampledFrom([]string{"a", "\x1b", "ü", "名", "👍", "\xff", "\xe5\x90", "\n", "\u009b", "\ufffd"})).Draw(t, "text") {
			in = append(in, piece...)
		}
		var out bytes.Buffer
		f := &filter{w: &out}
		for rest := in; len(rest) > 0; {
			n := rapid.IntRange(1, len(rest)).Draw(t, "piece")
			if wrote, err := f.Write(rest[:n]); wrote != n || err != nil {
				t.Fatal(wrote, err)
			}
			rest = rest[n:]
		}
		if _, err := f.Write([]byte("\n")); err != nil { // as all output ends
			t.Fatal(err)
		}
		text := out.String()
		if !utf8.ValidString(text) || strings.ContainsFunc(text, func(r rune) bool { return unicode.IsControl(r) && r != '\n' }) {
			t.Fatalf("%q became %q", in, text)
		}
		whole, rest := printable(append(in, '\n'))
		if len(rest) > 0 || string(whole) != text {
			t.Fatalf("in pieces %q, whole %q", text, whole)
		}
	})
}

// No command sends a terminal what is in a name.
func TestNamesAreHarmless(t *testing.T) {
	t.Chdir(t.TempDir())
	const src, dst, missing = "./a\x1b[31mb\nfake line\u009b", "./b\x1b]0;title\x07\u202e", "./none\x1b[2J\nx"
	if err := os.WriteFile(src, bytes.Repeat([]byte("x"), 8192), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"plan", src, dst}, {"copy", "--state", "./s\x1b[0m", src, dst}, {"status", "./s\x1b[0m"}, {"resume", "./s\x1b[0m"}, {"verify", src, dst}, {"copy", "--progress", "plain", src, dst},
		{"copy", missing, dst}, {"copy", src, "bare\x1b[2J"}, {"map", missing}, {"tree", missing}, {"domains", src}, {"capture", missing}, {"copy", "--length", "1\x1b[2J", src, dst},
		{"copy", "--ranges", missing, src, dst}, {"cop\x1b[2J"}, {"copy", "--\x1b[2J"}, {"plan", "--stack", missing, "a", "b"}, {"resume", missing}, {"copy", "--log-level", "debug", src, dst},
		{"copy", "--verify", "full", "--offload", "require", src, dst},
	} {
		_, out, errs := dmcopy(args...)
		for _, text := range []string{out, errs} {
			if i := strings.IndexFunc(text, func(r rune) bool { return r != '\n' && r != '\t' && (unicode.IsControl(r) || r == '\u202e') }); i >= 0 {
				t.Errorf("%q: %q", args, text)
			}
			if strings.Contains(text, "\nfake line") || strings.Contains(text, "\nx") {
				t.Errorf("%q: a line of its own: %q", args, text)
			}
		}
		code, out, _ := dmcopy(append(args, "--json")...)
		if len(args) > 1 && code != 0 && !json.Valid([]byte(out)) {
			t.Errorf("%q: %s", args, out)
		}
	}
}

// TestTerminalIsHarmless: what reaches the terminal is escaped there, whoever has forgotten to.
func TestTerminalIsHarmless(t *testing.T) {
	var out strings.Builder
	if _, err := newTerminal(&out).Write([]byte("a\x1b[31mb\u202e\n")); err != nil {
		t.Fatal(err)
	}
	if text := out.String(); strings.ContainsAny(text, "\x1b\u202e") || !strings.HasPrefix(text, "a") || !strings.HasSuffix(text, "\n") {
		t.Errorf("%q", text)
	}
}
