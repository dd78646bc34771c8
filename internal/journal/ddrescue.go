package journal

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// ParseMap reads a map file of GNU ddrescue (manual, "Mapfile structure"), which
// other programs write as well: partclone, for what is used of a file system,
// and this one. Everything that is neither rescued nor known to be bad is
// pending. The extents are in order; neighbours that are alike are joined.
func ParseMap(r io.Reader) ([]Extent, error) {
	m := mapReader{lines: bufio.NewScanner(io.LimitReader(r, maxBytes+1))}
	extents, err := m.read()
	if err == nil {
		err = m.lines.Err()
	}
	if err == nil && m.bytes > maxBytes {
		err = ErrTooLarge
	}
	if err != nil {
		return nil, fmt.Errorf("line %d: %w", m.line, err)
	}
	return extents, nil
}

// errMap: this is no map file of ddrescue.
var errMap = fmt.Errorf("not a map file of ddrescue")

type mapReader struct {
	lines *bufio.Scanner
	line  int
	bytes int64
}

// fields are the words of the next line that has any; nil at the end. A # begins
// a comment.
func (m *mapReader) fields() []string {
	for m.lines.Scan() {
		m.line++
		m.bytes += int64(len(m.lines.Bytes())) + 1
		text, _, _ := strings.Cut(m.lines.Text(), "#")
		if words := strings.Fields(text); len(words) > 0 {
			return words
		}
	}
	return nil
}

func (m *mapReader) read() ([]Extent, error) {
	// The first line is where ddrescue is: position, phase and perhaps pass.
	first := m.fields()
	if len(first) != 2 && len(first) != 3 || len(first[1]) != 1 || !strings.Contains("?*/-FG+", first[1]) {
		return nil, fmt.Errorf("%w: it has no status line", errMap)
	}
	for _, word := range append(first[:1:1], first[2:]...) {
		if _, err := mapNumber(word); err != nil {
			return nil, err
		}
	}
	var extents []Extent
	at := int64(-1)
	for words := m.fields(); words != nil; words = m.fields() {
		e, err := mapExtent(words)
		switch {
		case err != nil:
			return nil, err
		case at >= 0 && e.Off != at:
			return nil, fmt.Errorf("%w: %d does not follow %d", errMap, e.Off, at)
		case e.Off+e.Len < 0:
			return nil, fmt.Errorf("%w: %d bytes at %d", errMap, e.Len, e.Off)
		}
		at = e.end()
		if n := len(extents); n > 0 && extents[n-1].joins(e) {
			extents[n-1].Len += e.Len
		} else if e.Len > 0 {
			extents = append(extents, e)
		}
	}
	return extents, nil
}

// mapStatus are the statuses of ddrescue: non-tried, non-trimmed, non-scraped,
// bad sectors, finished.
var mapStatus = map[string]Status{"?": Pending, "*": Pending, "/": Pending, "-": Bad, "+": Done}

func mapExtent(words []string) (e Extent, err error) {
	if len(words) != 3 {
		return e, fmt.Errorf("%w: %d words", errMap, len(words))
	}
	if e.Off, err = mapNumber(words[0]); err != nil {
		return e, err
	}
	if e.Len, err = mapNumber(words[1]); err != nil {
		return e, err
	}
	status, known := mapStatus[words[2]]
	if !known {
		return e, fmt.Errorf("%w: status %q", errMap, shortened(words[2]))
	}
	e.Status = status
	return e, nil
}

// mapNumber reads a number as C does: decimal, hexadecimal or octal.
func mapNumber(word string) (int64, error) {
	lower := strings.ToLower(word)
	digits := "0123456789"
	if hex, ok := strings.CutPrefix(lower, "0x"); ok {
		lower, digits = hex, "0123456789abcdef"
	}
	if strings.Trim(lower, digits) != "" {
		return 0, fmt.Errorf("%w: %q is not a number", errMap, shortened(word))
	}
	n, err := strconv.ParseInt(word, 0, 64)
	if err != nil {
		return 0, fmt.Errorf("%w: %q is not a number", errMap, shortened(word))
	}
	return n, nil
}
