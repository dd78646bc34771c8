package dispatch

import (
	"context"
	"errors"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/copydomain"
	"github.com/dmcopy/dmcopy/remap"
)

// flusher is a copier of which only the flush matters.
type flusher struct {
	copydomain.Copier
	err error
}

func (f flusher) Flush(context.Context) error { return f.err }

func leafOf(minor uint32, driver, identity string) *remap.Node {
	return &remap.Node{Dev: remap.Dev{Major: 8, Minor: minor}, Size: 8, Leaf: &remap.Leaf{Driver: driver, Identity: identity}}
}

// TestFlushByAnyPath: what one path to a disk cannot flush another one can, but
// never another disk.
func TestFlushByAnyPath(t *testing.T) {
	ok, dead := flusher{}, flusher{err: unix.EIO}
	type end struct {
		leaf *remap.Node
		flusher
	}
	for name, c := range map[string]struct {
		ends []end
		want error
	}{
		"two paths":       {[]end{{leafOf(1, "scsi", "naa.1"), dead}, {leafOf(2, "scsi", "naa.1"), ok}}, nil},
		"both are dead":   {[]end{{leafOf(1, "scsi", "naa.1"), dead}, {leafOf(2, "scsi", "naa.1"), dead}}, unix.EIO},
		"two disks":       {[]end{{leafOf(1, "scsi", "naa.1"), dead}, {leafOf(2, "scsi", "naa.2"), ok}}, unix.EIO},
		"without a name":  {[]end{{leafOf(1, "scsi", ""), dead}, {leafOf(2, "scsi", ""), ok}}, unix.EIO},
		"namespaces":      {[]end{{leafOf(1, "nvme", "eui.1"), dead}, {leafOf(2, "nvme", "eui.1"), ok}}, unix.EIO},
		"nothing to tell": {nil, nil},
	} {
		r := &run{copiers: make(map[pairKey]*pairState)}
		for _, e := range c.ends {
			r.copiers[pairKey{dst: e.leaf.Dev}] = &pairState{copier: e.flusher, disk: diskOf(e.leaf)}
		}
		if err := r.flushLeaves(t.Context()); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
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
		if got := sameDisk(a, c.b); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
