package journal

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"time"
)

// The form of a state file, version 1. Lines that begin with # are comments to
// ddrescue.
const (
	magic   = "# dmcopy state "
	explain = "# What a copy of dmcopy has done. Run it again with the same --state to go on, or: dmcopy resume FILE\n" +
		"# The map below counts bytes of the destination: + is done, ? is not, - could not be read.\n"
	// preamble is ddrescue's line of its own progress, which says nothing here:
	// position, phase and pass.
	preamble = "0x00000000     ?               1\n"
	trailer  = "# end "
)

// Encode makes the file of a state.
func (s *State) Encode() ([]byte, error) {
	if len(s.Map.extents) > maxExtents {
		return nil, ErrTooLarge
	}
	if err := s.check(); err != nil {
		return nil, err
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s%d\n%s", magic, Version, explain)
	fmt.Fprintf(&b, "# job %x\n", s.Job)
	fmt.Fprintf(&b, "# created %s\n", s.Created.UTC().Format(time.RFC3339))
	fmt.Fprintf(&b, "# directory %s\n", strconv.QuoteToASCII(s.Directory))
	b.WriteString("# command")
	for _, word := range s.Command {
		b.WriteString(" " + strconv.QuoteToASCII(word))
	}
	b.WriteByte('\n')
	s.Plan.Source.encode(&b, "source")
	s.Plan.Destination.encode(&b, "destination")
	r := s.Plan.Ranges
	fmt.Fprintf(&b, "# ranges %d %d %d %d %d:%d:%d %x\n", r.Count, r.Bytes, r.From, r.To, r.First.Src, r.First.Dst, r.First.Len, r.Print)
	b.WriteString("# samples")
	for _, sample := range s.Samples {
		b.WriteString(" " + string(sample))
	}
	fmt.Fprintf(&b, "\n# writer %d %d %s\n", s.Writer.PID, s.Writer.Started, strconv.QuoteToASCII(s.Writer.Boot))
	fmt.Fprintf(&b, "# stage %s\n%s", s.Stage, preamble)
	s.encodeMap(&b)
	fmt.Fprintf(&b, "%s%x\n", trailer, sha256.Sum256(b.Bytes()))
	return b.Bytes(), nil
}

func (e End) encode(b *bytes.Buffer, what string) {
	fmt.Fprintf(b, "# %s %d %s %s %s\n", what, e.Size,
		strconv.QuoteToASCII(e.Identity), strconv.QuoteToASCII(e.Version), strconv.QuoteToASCII(e.Name))
}

// encodeMap writes the map without gaps, as ddrescue demands it.
func (s *State) encodeMap(b *bytes.Buffer) {
	at := s.Plan.Ranges.From
	pending := func(to int64) {
		if to > at {
			encodeExtent(b, Extent{Off: at, Len: to - at, Status: Pending})
		}
	}
	for _, e := range s.Map.extents {
		pending(e.Off)
		encodeExtent(b, e)
		at = e.end()
	}
	pending(s.Plan.Ranges.To)
}

func encodeExtent(b *bytes.Buffer, e Extent) {
	fmt.Fprintf(b, "0x%08X  0x%08X  %c", e.Off, e.Len, e.Status)
	if e.Method != "" {
		b.WriteString("  # " + e.Method)
	}
	b.WriteByte('\n')
}

// sealed cuts the last line off, which is a digest of the rest.
func sealed(file []byte) ([]byte, error) {
	const length = len(trailer) + 2*sha256.Size + 1
	at := len(file) - length
	if at < 0 || !bytes.HasPrefix(file[at:], []byte(trailer)) || file[len(file)-1] != '\n' {
		return nil, fmt.Errorf("%w: its last line is missing", ErrDamaged)
	}
	sum := sha256.Sum256(file[:at])
	if hex.EncodeToString(sum[:]) != string(file[at+len(trailer):len(file)-1]) {
		return nil, fmt.Errorf("%w: its checksum is wrong", ErrDamaged)
	}
	return file[:at], nil
}
