package main

import (
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"

	"github.com/dmcopy/dmcopy/internal/dispatch/failure"
	"github.com/dmcopy/dmcopy/remap"
)

// sizeForms is what size values look like, for messages and help.
const sizeForms = "a number of bytes, or one with a suffix: s (sectors of 512 bytes), K, M, G, T, P or E (powers of 1024, also as KiB or k)"

// sizeUnits are the suffixes, in bytes. They mean the same as small letters, which is
// how lvm prints them, and with "iB".
var sizeUnits = map[byte]int64{
	'S': remap.SectorSize, 'K': 1 << 10, 'M': 1 << 20, 'G': 1 << 30, 'T': 1 << 40, 'P': 1 << 50, 'E': 1 << 60,
}

// parseSize reads a size or an offset in bytes. There are no signs and spaces, nothing
// is rounded, and what could mean two things is refused.
func parseSize(s string) (int64, error) {
	number, unit, err := cutUnit(s)
	if err != nil {
		return 0, err
	}
	whole, fraction, pointed := strings.Cut(number, ".")
	if !allDigits(whole) || pointed && !allDigits(fraction) {
		return 0, fmt.Errorf("%q is not a size: want %s", s, sizeForms)
	}
	n, ok := new(big.Rat).SetString(number)
	if !ok || len(number) > maxSizeDigits {
		return 0, tooLarge(s)
	}
	n.Mul(n, new(big.Rat).SetInt64(unit))
	switch {
	case !n.IsInt():
		return 0, fmt.Errorf("%q is no whole number of bytes: it was rounded, so give the number of bytes (lsblk --bytes and lvs --units b print it)", s)
	case !n.Num().IsInt64():
		return 0, tooLarge(s)
	}
	return n.Num().Int64(), nil
}

// maxSizeDigits bounds what is calculated with.
const maxSizeDigits = 64

func tooLarge(s string) error {
	return fmt.Errorf("%q is too large: the largest size is %d bytes", s, int64(math.MaxInt64))
}

// cutUnit cuts the suffix off, and returns how many bytes it stands for.
func cutUnit(s string) (number string, unit int64, err error) {
	end := strings.LastIndexAny(s, "0123456789.") + 1
	number, suffix := s[:end], strings.ToUpper(s[end:])
	switch {
	case suffix == "", s[end:] == "B": // as lvm prints bytes
		return number, 1, nil
	case len(suffix) == 1 && sizeUnits[suffix[0]] > 0, len(suffix) == 3 && suffix[1:] == "IB" && suffix[0] != 'S' && sizeUnits[suffix[0]] > 0:
		return number, sizeUnits[suffix[0]], nil
	case len(suffix) == 2 && suffix[1] == 'B' && suffix[0] != 'S' && sizeUnits[suffix[0]] > 0:
		return "", 0, fmt.Errorf("%q can mean powers of 1000 or of 1024: write %s%c for 1024, or the number of bytes", s, number, suffix[0])
	case suffix == "B" && allDigits(number):
		return "", 0, fmt.Errorf("%q can mean bytes or blocks of 512: write %s for bytes, or %ss for sectors of 512", s, number, number)
	}
	return "", 0, fmt.Errorf("%q is not a size: want %s", s, sizeForms)
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

// completions are the words that a shell offers.
func (c *choice[T]) completions() (words []string) {
	for _, w := range c.words {
		words = append(words, string(w))
	}
	return words
}

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
func (e *usageError) Unwrap() error { return failure.ErrUsage }

func usage(format string, args ...any) error {
	return &usageError{fmt.Sprintf(format, args...)}
}
