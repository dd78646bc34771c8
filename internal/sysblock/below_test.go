package sysblock_test

import (
	"slices"
	"testing"

	"github.com/dmcopy/dmcopy/internal/sysblock/sysblocktest"
	"github.com/dmcopy/dmcopy/remap"
)

// TestStoredBelow: wherever they are below a device, and each once.
func TestStoredBelow(t *testing.T) {
	m := sysblocktest.New(t)
	m.Disk("sda", "8:0", 4096)
	m.Loop("loop9000", "7:9000", "/a")
	m.Part("loop9000", "loop9000p1", "259:1", 1, 8, 8)
	m.Part("loop9000", "loop9000p2", "259:2", 2, 16, 8)
	m.Loop("loop9001", "7:9001", "/b")
	m.Disk("loop9002", "7:9002", 0) // without a file
	m.Mapped("dm-0", "253:0", "both", 512, "loop9000p1", "loop9000p2", "loop9001", "loop9002", "sda")
	m.Mapped("dm-1", "253:1", "upper", 512, "dm-0")
	for name, want := range map[string][]string{
		"sda": nil, "loop9002": nil, "loop9001": {"/b"}, "loop9000p2": {"/a"}, "dm-0": {"/a", "/b"}, "dm-1": {"/a", "/b"},
	} {
		loops, err := m.FS().StoredBelow(m.Dev(name))
		var files []string
		for _, l := range loops {
			files = append(files, l.File)
		}
		slices.Sort(files)
		if err != nil || !slices.Equal(files, want) {
			t.Errorf("%s: %v, %v, want %v", name, files, err, want)
		}
	}
	if loops, err := m.FS().StoredBelow(remap.Dev{Major: 9, Minor: 9}); len(loops) > 0 || err != nil {
		t.Errorf("a device that is gone: %v, %v", loops, err)
	}
}
