package main

import (
	"io"
	"os"
	"strings"
	"sync"

	"golang.org/x/term"
)

// terminal is stderr. It keeps a status line, which rewrites itself, at the
// bottom of everything else that is written.
type terminal struct {
	mu     sync.Mutex
	w      io.Writer
	fd     int // -1 if it is no terminal
	status string
}

func newTerminal(w io.Writer) *terminal {
	t := &terminal{w: w, fd: -1}
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		t.fd = int(f.Fd())
	}
	return t
}

func (t *terminal) isTTY() bool { return t.fd >= 0 }

// width is the number of columns; 80 where the terminal does not tell.
func (t *terminal) width() int {
	if w, _, err := term.GetSize(t.fd); err == nil && w > 0 {
		return w
	}
	return 80
}

// clear erases the current line (ECMA-48, EL) and goes to its start.
const clear = "\r\x1b[K"

// Write writes whole lines above the status line.
func (t *terminal) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	text, rest := printable(p)
	lines := string(text) + line(string(rest))
	if t.status != "" {
		lines = clear + lines + t.status
	}
	if _, err := io.WriteString(t.w, lines); err != nil {
		return 0, err
	}
	return len(p), nil
}

// message writes one line. Nothing can be done where stderr is gone.
func (t *terminal) message(text string) { _, _ = io.WriteString(t, text+"\n") }

// setStatus replaces the status line; "" removes it.
func (t *terminal) setStatus(text string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if text = cut(line(text), t.width()-1); text == t.status {
		return
	}
	t.status = text
	_, _ = io.WriteString(t.w, clear+t.status)
}

// cut shortens a line to the width, so that it never wraps.
func cut(line string, width int) string {
	runes := []rune(line)
	if width < 1 || len(runes) <= width {
		return line
	}
	return strings.TrimRight(string(runes[:width]), " ")
}
