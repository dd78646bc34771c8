package main

import (
	"fmt"
	"math"
	"strconv"

	"github.com/dmcopy/dmcopy/dispatch"
	"github.com/dmcopy/dmcopy/remap"
)

// sizeForms is what size values look like, for messages and help.
const sizeForms = "a whole number of bytes, or one with a suffix: s (sectors of 512 bytes), K, M, G or T (powers of 1024)"

var sizeUnits = map[byte]int64{
	's': remap.SectorSize, 'K': 1 << 10, 'M': 1 << 20, 'G': 1 << 30, 'T': 1 << 40,
}

// parseSize reads a size or an offset in bytes. There are no signs, fractions
// and spaces, and nothing is rounded.
func parseSize(s string) (int64, error) {
	digits, unit := s, int64(1)
	if n := len(s); n > 0 {
		if u, ok := sizeUnits[s[n-1]]; ok {
			digits, unit = s[:n-1], u
		}
	}
	if !allDigits(digits) {
		return 0, fmt.Errorf("%q is not a size: want %s", s, sizeForms)
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n > math.MaxInt64/unit {
		return 0, fmt.Errorf("%q is too large: the largest size is %d bytes", s, int64(math.MaxInt64))
	}
	return n * unit, nil
}

func allDigits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}

// sizeFlag is a flag with a size as its value.
type sizeFlag struct {
	bytes int64
	set   bool
}

// Set implements pflag.Value.
func (f *sizeFlag) Set(s string) (err error) {
	f.bytes, err = parseSize(s)
	f.set = err == nil
	return err
}

func (f *sizeFlag) String() string {
	if f.bytes == 0 {
		return ""
	}
	return strconv.FormatInt(f.bytes, 10)
}

// Type implements pflag.Value.
func (f *sizeFlag) Type() string { return "SIZE" }

// choice is a flag that takes one of a few words.
type choice[T ~string] struct {
	value T
	words []T
}

// Set implements pflag.Value.
func (c *choice[T]) Set(s string) error {
	for _, w := range c.words {
		if T(s) == w {
			c.value = w
			return nil
		}
	}
	return fmt.Errorf("%q is none of %s", s, join(c.words, ", "))
}

func (c *choice[T]) String() string { return string(c.value) }

// Type implements pflag.Value.
func (c *choice[T]) Type() string { return join(c.words, "|") }

func join[T ~string](words []T, sep string) string {
	var s string
	for i, w := range words {
		if i > 0 {
			s += sep
		}
		s += string(w)
	}
	return s
}

// usageError is a mistake on the command line.
type usageError struct{ text string }

func (e *usageError) Error() string { return e.text }

// Unwrap makes it a usage error for the table of exit codes.
func (e *usageError) Unwrap() error { return dispatch.ErrUsage }

func usage(format string, args ...any) error {
	return &usageError{fmt.Sprintf(format, args...)}
}
