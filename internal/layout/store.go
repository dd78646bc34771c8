package layout

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
)

// Limits of stored snapshots. A table of a million lines takes 80 MB.
const (
	maxBytes = 256 << 20
	maxNodes = 1 << 16
)

// Write stores the snapshot as one JSON object, one device a line.
func (s *Snapshot) Write(w io.Writer) error {
	head := *s
	head.Nodes = []Node{}
	text, err := json.Marshal(&head)
	if err != nil {
		return &Error{"", err}
	}
	buf := bufio.NewWriter(w)
	// The list of nodes is the last field of the object.
	buf.Write(bytes.TrimSuffix(text, []byte("]}")))
	for i := range s.Nodes {
		text, err := json.Marshal(&s.Nodes[i])
		if err != nil {
			return &Error{s.Nodes[i].describe(), err}
		}
		if i > 0 {
			buf.WriteByte(',')
		}
		buf.WriteByte('\n')
		buf.Write(text)
	}
	buf.WriteString("\n]}\n")
	if err := buf.Flush(); err != nil {
		return &Error{"", err}
	}
	return nil
}

// Load reads a stored snapshot. It accepts nothing that this version would not
// have written.
func Load(r io.Reader) (*Snapshot, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxBytes+1))
	if err != nil {
		return nil, &Error{"", err}
	}
	if len(text) > maxBytes {
		return nil, &Error{"", fmt.Errorf("%w: more than %d MiB", ErrFormat, maxBytes>>20)}
	}
	s, err := decode(text)
	if err != nil {
		return nil, &Error{"", err}
	}
	for i := range s.Nodes {
		if err := s.Nodes[i].check(); err != nil {
			return nil, &Error{s.Nodes[i].describe(), err}
		}
	}
	return s, nil
}

func decode(text []byte) (*Snapshot, error) {
	// A newer snapshot may have fields that we do not know, so the schema is
	// looked at first.
	var head struct {
		Schema int `json:"schema"`
	}
	if err := json.Unmarshal(text, &head); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	switch {
	case head.Schema < 1:
		return nil, fmt.Errorf("%w: no schema", ErrFormat)
	case head.Schema > Schema:
		return nil, fmt.Errorf("%w: it has schema %d, this version reads up to %d", ErrSchema, head.Schema, Schema)
	}
	s := new(Snapshot)
	strict := json.NewDecoder(bytes.NewReader(text))
	strict.DisallowUnknownFields()
	if err := strict.Decode(s); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	if len(s.Nodes) > maxNodes {
		return nil, fmt.Errorf("%w: %d devices", ErrFormat, len(s.Nodes))
	}
	return s, nil
}
