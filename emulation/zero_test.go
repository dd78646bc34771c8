package emulation

import (
	"fmt"
	"testing"
)

func TestIsZero(t *testing.T) {
	memory := make([]byte, 3*4096+17)
	for _, n := range []int{0, 1, 7, 512, 4095, 4096, 4097, 8192, len(memory)} {
		for start := 0; start < 9 && start <= n; start++ {
			b := memory[start:n]
			if !IsZero(b) {
				t.Fatalf("%d zeroes are not zero", len(b))
			}
			for _, at := range []int{0, 1, len(b) / 2, len(b) - 1} {
				if at < 0 || at >= len(b) {
					continue
				}
				b[at] = 0x80
				if IsZero(b) {
					t.Fatalf("%d bytes with one at %d are zero", len(b), at)
				}
				b[at] = 0
			}
		}
	}
}

func TestLeadingRun(t *testing.T) {
	const unit = 4096
	data := make([]byte, 5*unit)
	data[3*unit+5] = 1 // units: zero, zero, zero, data, zero
	for _, c := range []struct {
		name     string
		d        int64
		from, to int
		n        int64
		zero     bool
	}{
		{"up to the data", 0, 0, 5 * unit, 3 * unit, true},
		{"the data", 3 * unit, 3 * unit, 5 * unit, unit, false},
		{"the last unit", 4 * unit, 4 * unit, 5 * unit, unit, true},
		{"less than a unit", 4 * unit, 4 * unit, 5*unit - 1, unit - 1, false},
		{"not at a unit", 1, 1, 3 * unit, unit - 1, false},
		{"other alignment", 512, 0, 3 * unit, unit - 512, false},
		{"nothing", 0, 0, 0, 0, false},
	} {
		if n, zero := leadingRun(c.d, data[c.from:c.to], unit); n != c.n || zero != c.zero {
			t.Errorf("%s: %d bytes, zero %v", c.name, n, zero)
		}
	}
}

func BenchmarkIsZero(b *testing.B) {
	for _, size := range []int{4 << 10, 64 << 10, 1 << 20} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			data := make([]byte, size)
			b.SetBytes(int64(size))
			for b.Loop() {
				if !IsZero(data) {
					b.Fatal("not zero")
				}
			}
		})
	}
}
