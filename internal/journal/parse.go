package journal

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Parse reads the file of a state. Nothing passes that Encode would not have
// written.
func Parse(file []byte) (*State, error) {
	first, _, _ := bytes.Cut(file, []byte("\n"))
	version, ok := bytes.CutPrefix(first, []byte(magic))
	switch {
	case !ok:
		return nil, ErrFormat
	case string(version) != strconv.Itoa(Version):
		return nil, fmt.Errorf("%w: %q", ErrVersion, shortened(string(version)))
	case len(file) > maxBytes:
		return nil, ErrTooLarge
	}
	body, err := sealed(file)
	if err != nil {
		return nil, err
	}
	p := parser{rest: string(body)}
	s := p.state()
	if p.err != nil {
		return nil, p.err
	}
	// What was not understood to the letter would come out otherwise.
	again, err := s.Encode()
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(again, file) {
		return nil, fmt.Errorf("%w: not in the form that it is written in", ErrFormat)
	}
	return s, nil
}

func shortened(text string) string { return text[:min(len(text), 32)] }

// parser reads line by line. After an error it reads on without effect.
type parser struct {
	rest string
	line int
	err  error
}

func (p *parser) fail(what string) {
	if p.err == nil {
		p.err = fmt.Errorf("%w: line %d: %s", ErrFormat, p.line, what)
	}
}

// next returns the next line, without its end.
func (p *parser) next() string {
	p.line++
	line, rest, ok := strings.Cut(p.rest, "\n")
	if !ok {
		p.fail("no end")
	}
	p.rest = rest
	return line
}

// after returns what follows a word at the beginning of the next line.
func (p *parser) after(prefix string) string {
	text, ok := strings.CutPrefix(p.next(), prefix)
	if !ok {
		p.fail("want " + strings.Trim(prefix, "# "))
	}
	return text
}

// words splits a text into so many of them; the last one takes the rest.
func (p *parser) words(text string, count int) []string {
	words := strings.SplitN(text, " ", count)
	if len(words) != count {
		p.fail("missing words")
		words = make([]string, count)
	}
	return words
}

func (p *parser) number(text string) int64 {
	n, err := strconv.ParseInt(text, 0, 64)
	if err != nil || n < 0 {
		p.fail("not a number")
	}
	return n
}

// quoted takes a quoted string off the beginning of a text.
func (p *parser) quoted(text string) (value, rest string) {
	prefix, err := strconv.QuotedPrefix(text)
	if err != nil {
		p.fail("not a string")
		return "", ""
	}
	if value, err = strconv.Unquote(prefix); err != nil {
		p.fail("not a string")
	}
	return value, strings.TrimPrefix(text[len(prefix):], " ")
}

// digest reads hexadecimal digits that fill a digest.
func (p *parser) digest(to []byte, text string) {
	if len(text) != 2*len(to) {
		p.fail("not a digest")
		return
	}
	if _, err := hex.Decode(to, []byte(text)); err != nil {
		p.fail("not a digest")
	}
}

func (p *parser) state() *State {
	s := new(State)
	p.next()
	for range strings.Count(explain, "\n") {
		p.next()
	}
	p.digest(s.Job[:], p.after("# job "))
	var err error
	if s.Created, err = time.Parse(time.RFC3339, p.after("# created ")); err != nil {
		p.fail("not a time")
	}
	s.Directory, _ = p.quoted(p.after("# directory "))
	s.Command = p.command()
	s.Plan.Source = p.end("# source ")
	s.Plan.Destination = p.end("# destination ")
	s.Plan.Ranges = p.ranges()
	for _, word := range strings.Fields(p.after("# samples")) {
		s.Samples = append(s.Samples, Sample(word))
	}
	s.Writer = p.writer()
	s.Stage = Stage(p.after("# stage "))
	p.next() // the preamble
	s.Map = p.extents()
	return s
}

func (p *parser) command() (words []string) {
	rest := strings.TrimPrefix(p.after("# command"), " ")
	for rest != "" && p.err == nil {
		var word string
		word, rest = p.quoted(rest)
		words = append(words, word)
	}
	return words
}

func (p *parser) end(prefix string) (e End) {
	words := p.words(p.after(prefix), 2)
	e.Size = p.number(words[0])
	rest := words[1]
	e.Identity, rest = p.quoted(rest)
	e.Version, rest = p.quoted(rest)
	e.Name, _ = p.quoted(rest)
	return e
}

func (p *parser) ranges() (r Ranges) {
	words := p.words(p.after("# ranges "), 6)
	r.Count = int(p.number(words[0]))
	r.Bytes, r.From, r.To = p.number(words[1]), p.number(words[2]), p.number(words[3])
	first := strings.SplitN(words[4], ":", 3)
	if len(first) != 3 {
		p.fail("not a range")
		return r
	}
	r.First = Range{Src: p.number(first[0]), Dst: p.number(first[1]), Len: p.number(first[2])}
	p.digest(r.Print[:], words[5])
	return r
}

func (p *parser) writer() (w Process) {
	words := p.words(p.after("# writer "), 3)
	w.PID, w.Started = p.number(words[0]), p.number(words[1])
	w.Boot, _ = p.quoted(words[2])
	return w
}

// extents reads the rest of the file. The order is checked with the state.
func (p *parser) extents() (m Map) {
	for p.rest != "" && p.err == nil {
		line, method, _ := strings.Cut(p.next(), "  # ")
		words := strings.Fields(line)
		if len(words) != 3 || len(words[2]) != 1 || len(m.extents) >= maxExtents {
			p.fail("not a part of the map")
			return m
		}
		e := Extent{Off: p.number(words[0]), Len: p.number(words[1]), Status: Status(words[2][0]), Method: method}
		if e.Status == Pending {
			continue
		}
		if n := len(m.extents); n > 0 && m.extents[n-1].joins(e) {
			p.fail("a part that belongs to the one before")
		}
		m.extents = append(m.extents, e)
	}
	return m
}
