package sysblock

import (
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dmcopy/dmcopy/remap"
)

func TestParseIOStat(t *testing.T) {
	for line, want := range map[string]IOStat{
		"    8050     2038   611214     1710     5213     4026   280304     6543        0     3196     8254\n":                                       {8050, 5213, 1710, 6543, 280304},
		"8050 2038 611214 1710 5213 4026 280304 6543 0 3196 8254 1 2 3 4":                                                                            {8050, 5213, 1710, 6543, 280307},
		"     100        0      800       20        1        0        8        2        0       16       22        0        0        0        0 1 1": {100, 1, 20, 2, 8},
	} {
		if got, ok := parseIOStat(line); !ok || got != want {
			t.Errorf("%q: %+v, %v", line, got, ok)
		}
	}
	for _, line := range []string{"", "1 2 3", "1 2 3 4 5 6 7 8 9 10 11 12", "1 2 3 4 5 6 7 8 9 10 x", "1 2 3 -4 5 6 7 8 9 10 11", "1 2 3 4 5 6 7 8 9 10 18446744073709551616"} {
		if got, ok := parseIOStat(line); ok {
			t.Errorf("%q: %+v", line, got)
		}
	}
}

// TestIOStatSince: the clock goes round within weeks.
func TestIOStatSince(t *testing.T) {
	before := IOStat{Reads: 10, Writes: 20, ReadTicks: math.MaxUint32, WriteTicks: 5}
	ios, spent := IOStat{Reads: 13, Writes: 20, ReadTicks: 4, WriteTicks: 6}.Since(before)
	if ios != 3 || spent != 6*time.Millisecond {
		t.Errorf("%d in %v", ios, spent)
	}
}

func TestIOStat(t *testing.T) {
	root := t.TempDir()
	dir := filepath.Join(root, "sys/dev/block/8:0")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	dev := remap.Dev{Major: 8}
	if _, err := FS(root).IOStat(dev); !errors.Is(err, ErrGone) {
		t.Errorf("gone: %v", err)
	}
	for text, want := range map[string]error{"1 0 0 2 3 0 0 4 0 0 0\n": nil, "1 2\n": ErrValue} {
		if err := os.WriteFile(filepath.Join(dir, "stat"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := FS(root).IOStat(dev)
		if !errors.Is(err, want) || err == nil && got != (IOStat{1, 3, 2, 4, 0}) {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
	}
}

func FuzzIOStat(f *testing.F) {
	f.Add("1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17\n")
	f.Add("8050 2038 611214 1710 5213 4026 280304 6543 0 3196 8254")
	f.Fuzz(func(t *testing.T, line string) {
		if s, ok := parseIOStat(line); ok {
			if n := len(strings.Fields(line)); n < 11 || n > 17 {
				t.Errorf("%q: %+v", line, s)
			}
		}
	})
}
