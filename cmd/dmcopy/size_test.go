package main

import (
	"math"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestParseSize(t *testing.T) {
	for text, want := range map[string]int64{
		"0": 0, "1": 1, "007": 7, "1s": 512, "3K": 3 << 10, "5M": 5 << 20, "7G": 7 << 30, "2T": 2 << 40,
		"9223372036854775807": math.MaxInt64, "8388607T": 8388607 << 40,
	} {
		if got, err := parseSize(text); got != want || err != nil {
			t.Errorf("%q: %d, %v; want %d", text, got, err, want)
		}
	}
	for _, text := range []string{
		"", " ", "K", "s", "-1", "+1", "1.5G", "1,000", "1 K", " 1", "1 ", "1k", "1g", "1KB", "1KiB", "1S", "1P", "0x10",
		"1e3", "1_000", "٣", "1KK", "--1", "1s1", "NaN",
	} {
		if got, err := parseSize(text); err == nil || !strings.Contains(err.Error(), "sectors of 512 bytes") {
			t.Errorf("%q: %d, %v; want the accepted forms", text, got, err)
		}
	}
	for _, text := range []string{"9223372036854775808", "8388608T", "9007199254740992K", "18014398509481984s", "99999999999999999999999999"} {
		if got, err := parseSize(text); err == nil || !strings.Contains(err.Error(), "too large") {
			t.Errorf("%q: %d, %v; want too large", text, got, err)
		}
	}
}

// What exact prints, parseSize reads.
func TestExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.Int64Range(0, math.MaxInt64).Draw(t, "n") >> rapid.IntRange(0, 62).Draw(t, "right")
		n &^= 1<<rapid.IntRange(0, 45).Draw(t, "zeroes") - 1
		if back, err := parseSize(exact(n)); back != n || err != nil {
			t.Fatalf("%d is printed as %s and read as %d, %v", n, exact(n), back, err)
		}
	})
}

func TestHuman(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 1<<20 - 1: "1.0 MiB", 1 << 20: "1.0 MiB", 5 << 29: "2.5 GiB",
		math.MaxInt64: "8.0 EiB",
	} {
		if got := human(n); got != want {
			t.Errorf("%d: %q, want %q", n, got, want)
		}
	}
}

// A share is neither all nor nothing unless it is.
func TestPercent(t *testing.T) {
	for _, c := range []struct {
		part, whole int64
		want        string
	}{
		{0, 0, "0 %"}, {0, 5, "0 %"}, {5, 5, "100 %"}, {1, 1 << 40, "0.1 %"}, {1<<40 - 1, 1 << 40, "99.9 %"}, {1, 2, "50.0 %"},
	} {
		if got := percent(c.part, c.whole); got != c.want {
			t.Errorf("%d of %d: %q, want %q", c.part, c.whole, got, c.want)
		}
	}
}
