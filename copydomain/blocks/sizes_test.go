package blocks

import "testing"

type count int

func (c count) Half() (count, bool) { return max(c/2, 1), c > 1 }

// Batches that are refused at the same limits halve them once, and nothing is below one.
func TestSizes(t *testing.T) {
	var s Sizes[count]
	s.Set(4)
	for _, tc := range []struct {
		used, want count
		ok         bool
	}{{4, 2, true}, {4, 2, true}, {2, 1, true}, {2, 1, true}, {1, 1, false}} {
		if ok := s.Shrink(tc.used); ok != tc.ok || s.Limits() != tc.want {
			t.Errorf("%d were too many: %d, %v; want %d, %v", tc.used, s.Limits(), ok, tc.want, tc.ok)
		}
	}
}
