package main

import (
	"strings"
	"testing"

	"github.com/dmcopy/dmcopy/dispatch"
	"github.com/dmcopy/dmcopy/dispatch/byterange"
	"github.com/dmcopy/dmcopy/dispatch/ends"
	"github.com/dmcopy/dmcopy/dmtable"
	"github.com/dmcopy/dmcopy/remap"
	"github.com/dmcopy/dmcopy/snapshot"
)

// A snapshot of 1024 sectors with chunks of 8, of which some are used.
func TestExhausted(t *testing.T) {
	for name, c := range map[string]struct {
		used   int64 // sectors
		ranges []byterange.Range
		want   string
	}{
		"room":              {16, []byterange.Range{{Len: 500 << 10}}, ""},
		"exactly":           {24 - 8, []byterange.Range{{Len: 125 * 4096}}, ""}, // and one chunk of entries
		"one too many":      {24, []byterange.Range{{Len: 125 * 4096}}, "writing to vg/home takes up to 504.0 KiB of its snapshot vg/snap, which has 500.0 KiB of 512.0 KiB left: when that is full the snapshot is lost: extend it first (lvextend -L +4k vg/snap), or remove it"},
		"parts of chunks":   {1024 - 24, []byterange.Range{{Dst: 4095, Len: 2}, {Dst: 8192, Len: 1}}, "writing to vg/home takes up to 16.0 KiB of its snapshot vg/snap, which has 12.0 KiB of 512.0 KiB left: when that is full the snapshot is lost: extend it first (lvextend -L +4k vg/snap), or remove it"},
		"full, and nothing": {1024, nil, ""},
	} {
		f := &snapshot.Filling{Name: "vg/snap", SnapshotUse: dmtable.SnapshotUse{Chunk: 8, Used: remap.Sector(c.used), Total: 1024}}
		if got := exhausted(f, dispatch.Job{Dst: ends.Endpoint{Name: "vg/home"}, Ranges: c.ranges}); got != c.want {
			t.Errorf("%s: %s", name, got)
		}
	}
}

// What cannot be looked into is told of, with how much that is.
func TestUnseenProcesses(t *testing.T) {
	job := dispatch.Job{Src: ends.Endpoint{Name: "a"}, Dst: ends.Endpoint{Name: "b"}}
	const text = "whether somebody has a or b open for writing is not known for sure: "
	for _, c := range []struct {
		n    int
		all  bool
		want string
	}{
		{0, true, ""},
		{1, true, text + "the open files of 1 process may not be looked at: run as root, outside of containers"},
		{12, true, text + "the open files of 12 processes may not be looked at: run as root, outside of containers"},
		{0, false, text + "the processes of others do not show: run as root, outside of containers"},
	} {
		if got := strings.Join(unseenProcesses(c.n, c.all, job), "; "); got != c.want {
			t.Errorf("%d, %v: %s", c.n, c.all, got)
		}
	}
}
