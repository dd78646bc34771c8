package dispatch

import (
	"math"
	"testing"

	"pgregory.net/rapid"

	"github.com/dmcopy/dmcopy/internal/dispatch/byterange"
)

// TestSamples: the beginning and the end of each range are among the samples, which lie
// within it, do not overlap, are nowhere further apart than is said, and are as many bytes
// as the progress is told.
func TestSamples(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var ranges []byterange.Range
		for range rapid.IntRange(0, 4).Draw(t, "ranges") {
			length := rapid.OneOf(rapid.Int64Range(1, 4*sampleBytes), rapid.Int64Range(1, 5*sampleEvery)).Draw(t, "length")
			ranges = append(ranges, byterange.Range{Src: int64(len(ranges)) << 40, Dst: 7, Len: length})
		}
		var sum int64
		size := rapid.IntRange(1, 5).Draw(t, "batch")
		rest := ranges
		at := int64(0)
		for some := range batches(samples(ranges), size) {
			if len(some) == 0 || len(some) > size {
				t.Fatalf("a batch of %d", len(some))
			}
			for _, g := range some {
				sum += g.Len
				whole := rest[0]
				from := g.Src - whole.Src
				if g.Dst-whole.Dst != from || g.Len <= 0 || g.Len > sampleBytes || from < at || from-at > sampleEvery || at == 0 && from != 0 {
					t.Fatalf("%+v behind byte %d of %+v", g, at, whole)
				}
				if at = from + g.Len; at == whole.Len {
					rest, at = rest[1:], 0
				}
			}
		}
		if len(rest) > 0 || sum != sampledBytes(ranges) {
			t.Fatalf("%d bytes, %d were told; without %v", sum, sampledBytes(ranges), rest)
		}
	})
}

// TestSamplesOfEverything: what is longest is sampled without a list of all samples.
func TestSamplesOfEverything(t *testing.T) {
	whole := []byterange.Range{{Len: math.MaxInt64}}
	if n := sampledBytes(whole); n != 1<<57+sampleBytes {
		t.Errorf("%d bytes of samples", n)
	}
	var first byterange.Range
	for some := range batches(samples(whole), 1024) {
		first = some[1]
		break
	}
	if first.Src != sampleEvery || first.Len != sampleBytes {
		t.Errorf("the second sample: %+v", first)
	}
}
