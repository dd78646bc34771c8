package window

import (
	"math"
	"time"
)

// DefaultSize is the largest window in bytes, unless the options say otherwise.
const DefaultSize = 2 << 30

// MaxSize is where windows end anyway, in bytes: no disk copies as much in the time
// that a window may be held.
const MaxSize = 1 << 40

// Unit is what windows are rounded up to, in bytes.
const Unit = 64 << 10

// Fit is the largest window of so many bytes: whole units, so that no cut between two windows
// goes through a block.
func Fit(bytes int64) int64 { return (min(max(bytes, 1), MaxSize) + Unit - 1) &^ (Unit - 1) }

// Resize adapts the size of windows to how long the last one was held. Where
// windows are large enough for it, grain, the bytes of one full command to each
// of its pairs, divides them: a window that ends in the middle of a command
// costs one more.
func Resize(size, bytes, grain int64, held time.Duration, most int64) int64 {
	if held <= 0 || bytes == 0 {
		return size
	}
	fit := Truncate(float64(bytes) * float64(holdTarget) / float64(held))
	next := max(min(fit, size*16, most), min(MinSize, most))
	if next > grain && grain > 0 {
		next -= next % grain
	}
	return next
}

// Truncate is a number without its fraction, or the largest that there is: what a
// conversion of Go makes of a larger one is not defined.
func Truncate(f float64) int64 {
	if f >= math.MaxInt64 {
		return math.MaxInt64
	}
	return int64(f)
}
