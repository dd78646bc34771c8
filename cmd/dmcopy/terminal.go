package main

import (
	"encoding/json"
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
	// objects has every line be a JSON object.
	objects bool
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

// asObjects has every line be a JSON object, or none.
func (t *terminal) asObjects(on bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.objects = on
}

func (t *terminal) inObjects() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.objects
}

// Kinds of messages, by which programs tell them apart.
const (
	kindNote    = "note"
	kindWarning = "warning"
)

// say writes a message for people, on one line whatever is in it.
func (t *terminal) say(kind, text string) {
	switch {
	case t.inObjects():
		t.object(struct {
			Type string `json:"message_type"`
			Text string `json:"message"`
		}{kind, text})
	case kind == kindWarning:
		t.message("dmcopy: warning: " + text)
	default:
		t.message("dmcopy: " + text)
	}
}

// fail writes why the program ends.
func (t *terminal) fail(m message) {
	if t.inObjects() {
		t.object(m)
		return
	}
	t.message("dmcopy: " + m.Text)
}

// object writes a line for programs.
func (t *terminal) object(v any) {
	var text strings.Builder
	enc := json.NewEncoder(&text)
	enc.SetEscapeHTML(false)
	if enc.Encode(v) == nil { // always: numbers and strings
		t.message(strings.TrimSuffix(text.String(), "\n"))
	}
}

// message writes one line. Nothing can be done where stderr is gone.
func (t *terminal) message(text string) { _, _ = io.WriteString(t, line(text)+"\n") }

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
