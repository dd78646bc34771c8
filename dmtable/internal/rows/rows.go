// Package rows stores tables of numbers as JSON: arrays of arrays of unsigned
// numbers, all of the same length. A map can have millions of rows, and
// encoding/json needs many times the memory of the numbers to read them; nor
// does it object to null or to a row that is too long.
package rows

import (
	"errors"
	"fmt"
	"math"
	"strconv"
)

// errSyntax is returned by [Parse] for text that is not such a table.
var errSyntax = errors.New("not a table of numbers")

// Append appends one row to a table that is being written. A table begins with
// nil and ends with [Close].
func Append(text []byte, row ...uint64) []byte {
	separator := byte(',')
	if len(text) == 0 {
		separator = '['
	}
	text = append(text, separator)
	separator = '['
	for _, n := range row {
		text = strconv.AppendUint(append(text, separator), n, 10)
		separator = ','
	}
	return append(text, ']')
}

// Close ends a table.
func Close(text []byte) []byte {
	if len(text) == 0 {
		text = append(text, '[')
	}
	return append(text, ']')
}

// Parse visits the rows of a table. Each has to have the given width. The row
// is valid until visit returns.
func Parse(text []byte, width int, visit func(row []uint64) error) error {
	p := parser{rest: text, size: len(text)}
	if !p.take('[') {
		return p.fail()
	}
	row := make([]uint64, width)
	for first := true; !p.take(']'); first = false {
		if !first && !p.take(',') || !p.row(row) {
			return p.fail()
		}
		if err := visit(row); err != nil {
			return err
		}
	}
	if p.space(); len(p.rest) > 0 {
		return p.fail()
	}
	return nil
}

type parser struct {
	rest []byte
	size int
}

func (p *parser) fail() error {
	return fmt.Errorf("%w: byte %d", errSyntax, p.size-len(p.rest))
}

// space skips the white space of JSON (RFC 8259, section 2).
func (p *parser) space() {
	for len(p.rest) > 0 && (p.rest[0] == ' ' || p.rest[0] == '\n' || p.rest[0] == '\t' || p.rest[0] == '\r') {
		p.rest = p.rest[1:]
	}
}

// take takes a character if it is the next one.
func (p *parser) take(c byte) bool {
	p.space()
	if len(p.rest) == 0 || p.rest[0] != c {
		return false
	}
	p.rest = p.rest[1:]
	return true
}

func (p *parser) row(row []uint64) bool {
	open := byte('[')
	for i := range row {
		if !p.take(open) || !p.number(&row[i]) {
			return false
		}
		open = ','
	}
	return p.take(']')
}

// number takes digits without leading zeroes, signs or fractions.
func (p *parser) number(n *uint64) bool {
	p.space()
	*n = 0
	i := 0
	for ; i < len(p.rest) && '0' <= p.rest[i] && p.rest[i] <= '9'; i++ {
		digit := uint64(p.rest[i] - '0')
		if i > 0 && *n == 0 || *n > (math.MaxUint64-digit)/10 {
			return false
		}
		*n = 10**n + digit
	}
	p.rest = p.rest[i:]
	return i > 0
}
