package failure

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
)

// Quote is a name as a sentence shows it: on one line, and in quotes where nobody would
// see it otherwise.
func Quote(name string) string {
	if strings.TrimSpace(name) != name || name == "" {
		return strconv.Quote(name)
	}
	return onOneLine(name)
}

// onOneLine keeps a name that has several lines on one.
func onOneLine(name string) string { return strings.ReplaceAll(name, "\n", `\n`) }

// ShellQuote quotes a name for a shell, where it has to be.
func ShellQuote(name string) string {
	switch {
	case name != "" && strings.IndexFunc(name, special) < 0:
		return name
	case strings.IndexFunc(name, unicode.IsControl) < 0:
		return "'" + strings.ReplaceAll(name, "'", `'\''`) + "'"
	}
	var b strings.Builder
	for i := range len(name) { // as bash and zsh take it
		switch c := name[i]; {
		case c == '\\', c == '\'':
			b.WriteString(`\` + string(rune(c)))
		case c == '\n':
			b.WriteString(`\n`)
		case c < ' ' || c >= 0x7f:
			fmt.Fprintf(&b, `\x%02x`, c)
		default:
			b.WriteByte(c)
		}
	}
	return "$'" + b.String() + "'"
}

// special tells whether a character is not one of those that mean nothing to any shell.
func special(r rune) bool {
	return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("_@%+=:,./-", r)
}
