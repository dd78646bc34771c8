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
		"9223372036854775807": math.MaxInt64, "8388607T": 8388607 << 40, "8191P": 8191 << 50, "7E": 7 << 60,
		// As people type them, and as lvm and lsblk print them.
		"1g": 1 << 30, "1GiB": 1 << 30, "1gib": 1 << 30, "3k": 3 << 10, "10.00g": 10 << 30, "1.5G": 3 << 29, "0.5k": 512, "4096B": 4096, "8S": 4096,
		"1.0": 1, "0.0009765625K": 1,
	} {
		if got, err := parseSize(text); got != want || err != nil {
			t.Errorf("%q: %d, %v; want %d", text, got, err, want)
		}
	}
	for _, text := range []string{
		"", " ", "K", "s", "-1", "+1", "1,000", "1 K", " 1", "1 ", "0x10", "1SiB", "1iB", "1Ki", "KiB", "1.", ".5G", "1..5G", "1.5.5G", "<10.00g", "1/2", "1.5e1G", "1W", "1\x00",
		"1e3", "1_000", "٣", "1KK", "--1", "1s1", "NaN",
	} {
		if got, err := parseSize(text); err == nil || !strings.Contains(err.Error(), "sectors of 512 bytes") {
			t.Errorf("%q: %d, %v; want the accepted forms", text, got, err)
		}
	}
	for text, says := range map[string]string{
		"1KB": "powers of 1000 or of 1024: write 1K for 1024", "2gB": "write 2G for 1024", "8b": "bytes or blocks of 512: write 8 for bytes, or 8s",
		"10.23g": "no whole number of bytes", "0.1": "no whole number", "1.0001K": "lvs --units b",
	} {
		if got, err := parseSize(text); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %d, %v; want %q", text, got, err, says)
		}
	}
	for _, text := range []string{"8E", "9223372036854775807.5K", "0." + strings.Repeat("0", 100) + "1", strings.Repeat("9", 1<<12) + "G", "9223372036854775808", "8388608T", "9007199254740992K", "18014398509481984s", "99999999999999999999999999"} {
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
