package plan

import (
	"testing"

	"github.com/dmcopy/dmcopy/remap"
)

func leafOf(minor uint32, driver, identity string) *remap.Node {
	return &remap.Node{Dev: remap.Dev{Major: 8, Minor: minor}, Size: 8, Leaf: &remap.Leaf{Driver: driver, Identity: identity}}
}

// TestSameDisk: a leaf is itself, or another path to a disk of that name and size.
func TestSameDisk(t *testing.T) {
	a := leafOf(1, "scsi", "naa.1")
	grown, replaced := leafOf(2, "scsi", "naa.1"), leafOf(1, "nvme", "")
	grown.Size, replaced.Print = 9, remap.Fingerprint{1}
	for name, c := range map[string]struct {
		b    *remap.Node
		want bool
	}{
		"itself":       {leafOf(1, "scsi", "naa.1"), true},
		"another path": {leafOf(2, "scsi", "naa.1"), true},
		"another disk": {leafOf(2, "scsi", "naa.2"), false},
		"no name":      {leafOf(2, "scsi", ""), false},
		"another size": {grown, false},
		"its number":   {replaced, false},
	} {
		if got := SameDisk(a, c.b); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
