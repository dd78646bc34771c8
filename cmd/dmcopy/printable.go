package main

import (
	"bytes"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/dmcopy/dmcopy/internal/dispatch/failure"
)

// Names of devices, volumes and files hold what others have put into them, and a
// terminal obeys what it is sent: no control character of theirs leaves the program.

// printable writes control characters, and those that change the direction or the look
// of what follows, the way JSON does, in which they are in strings, and bytes that are no
// UTF-8 as \xNN. Newlines and tabs are ours. The rest is the beginning of a character
// that is not complete.
func printable(p []byte) (text, rest []byte) {
	if bytes.IndexFunc(p, unfit) < 0 {
		return p, nil
	}
	var b bytes.Buffer
	for len(p) > 0 {
		if !utf8.FullRune(p) {
			return b.Bytes(), p
		}
		r, n := utf8.DecodeRune(p)
		switch {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(&b, `\x%02x`, p[0])
		case r == utf8.RuneError, !unfit(r):
			b.Write(p[:n])
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(&b, `\u%04x\u%04x`, high, low)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
		p = p[n:]
	}
	return b.Bytes(), nil
}

// unfit tells whether a character is not written as it is; so is, for a closer look, the
// replacement character, which stands for bytes that are none.
func unfit(r rune) bool {
	switch r {
	case '\n', '\t':
		return false
	case utf8.RuneError:
		return true
	}
	return r < ' ' || r == 0x7f || r > 0x7f && (unicode.Is(unicode.C, r) || unicode.In(r, unicode.Zl, unicode.Zp))
}

// line is printable text that stays on its line.
func line(s string) string {
	text, rest := printable([]byte(s))
	for _, c := range rest {
		text = fmt.Appendf(text, `\x%02x`, c)
	}
	return strings.NewReplacer("\n", `\n`, "\t", `\t`).Replace(string(text))
}

// shown is a name as sentences show it.
func shown(name string) string { return line(failure.Quote(name)) }
