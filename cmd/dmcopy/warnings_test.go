package main

import (
	"errors"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/dispatch"
	"github.com/dmcopy/dmcopy/dmtable"
	"github.com/dmcopy/dmcopy/emulation"
	"github.com/dmcopy/dmcopy/internal/dispatch/account"
	"github.com/dmcopy/dmcopy/internal/dispatch/byterange"
	"github.com/dmcopy/dmcopy/internal/dispatch/ends"
	"github.com/dmcopy/dmcopy/internal/layout"
	"github.com/dmcopy/dmcopy/remap"
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
		"one too many":      {24, []byterange.Range{{Len: 125 * 4096}}, "writing to vg/home takes up to 504.0 KiB of its snapshot vg/snap, which has 500.0 KiB of 512.0 KiB left: a full snapshot is lost: extend it first (lvextend -L +4k vg/snap), or remove it"},
		"parts of chunks":   {1024 - 24, []byterange.Range{{Dst: 4095, Len: 2}, {Dst: 8192, Len: 1}}, "writing to vg/home takes up to 16.0 KiB of its snapshot vg/snap, which has 12.0 KiB of 512.0 KiB left: a full snapshot is lost: extend it first (lvextend -L +4k vg/snap), or remove it"},
		"full, and nothing": {1024, nil, ""},
	} {
		f := &layout.SnapshotSpace{Name: "vg/snap", SnapshotUse: dmtable.SnapshotUse{Chunk: 8, Used: remap.Sector(c.used), Total: 1024}}
		if got := exhausted(f, dispatch.Job{Dst: ends.Endpoint{Name: "vg/home"}, Ranges: c.ranges}); got != c.want {
			t.Errorf("%s: %s", name, got)
		}
	}
}

// What cannot be looked into is told of, with how much that is.
func TestUnseenProcesses(t *testing.T) {
	job := dispatch.Job{Src: ends.Endpoint{Name: "a"}, Dst: ends.Endpoint{Name: "b"}}
	const text = "dmcopy cannot tell for sure whether somebody has a or b open for writing: "
	for _, c := range []struct {
		n    int
		all  bool
		want string
	}{
		{0, true, ""},
		{1, true, text + "it may not look at the open files of 1 process: run as root, outside of containers"},
		{12, true, text + "it may not look at the open files of 12 processes: run as root, outside of containers"},
		{0, false, text + "it does not see the processes of others: run as root, outside of containers"},
	} {
		if got := strings.Join(unseenProcesses(c.n, c.all, job), "; "); got != c.want {
			t.Errorf("%d, %v: %s", c.n, c.all, got)
		}
	}
}

// A snapshot of 512 KiB with chunks of 4 KiB that is written to itself.
func TestOverflows(t *testing.T) {
	for name, c := range map[string]struct {
		used, total int64 // sectors
		length      int64
		want        string
	}{
		"room":         {16, 1056, 512 << 10, ""},
		"too little":   {16, 512, 512 << 10, "vg/snap is on the snapshot vg/snap, which stores what is written to it: the copy takes up to 508.0 KiB of it, and it has 248.0 KiB of 256.0 KiB left: a full snapshot is lost: extend it first (lvextend -L +260k vg/snap), or copy less"},
		"enough of it": {16, 512, 128 << 10, ""},
		"all is there": {1032, 1032, 512 << 10, ""},
	} {
		f := &layout.SnapshotSpace{Name: "vg/snap", Itself: true, Size: 1024, SnapshotUse: dmtable.SnapshotUse{Chunk: 8, Used: remap.Sector(c.used), Total: remap.Sector(c.total)}}
		if got := overflows(f, dispatch.Job{Dst: ends.Endpoint{Name: "vg/snap"}, Ranges: []byterange.Range{{Len: c.length}}}); got != c.want {
			t.Errorf("%s: %s", name, got)
		}
	}
}

// A pool with blocks of 64 KiB, 1 MiB of which is left.
func TestLacksRoom(t *testing.T) {
	for name, c := range map[string]struct {
		unmapped int64 // sectors
		ranges   []byterange.Range
		want     string
	}{
		"room":            {8192, []byterange.Range{{Len: 1 << 20}}, ""},
		"all is mapped":   {0, []byterange.Range{{Len: 4 << 20}}, ""},
		"less is lacking": {2048, []byterange.Range{{Len: 4 << 20}}, ""},
		"parts of blocks": {8192, []byterange.Range{{Dst: 4096, Len: 1 << 20}}, "writing to vg/thin takes up to 1.1 MiB of its thin pool vg/pool, which has 1.0 MiB of 16.0 MiB left: when the pool is full, writes wait or fail: make room in it first (lvextend, or remove volumes), or copy less"},
	} {
		room := layout.PoolSpace{Pool: "vg/pool", Block: 128, Free: 2048, Total: 32768, Unmapped: remap.Sector(c.unmapped)}
		if got := lacksRoom(room, dispatch.Job{Dst: ends.Endpoint{Name: "vg/thin"}, Ranges: c.ranges}); got != c.want {
			t.Errorf("%s: %s", name, got)
		}
	}
}

// An end that cannot be used because it is a snapshot that is lost is told of as such.
func TestLostSnapshot(t *testing.T) {
	lost := remap.Dev{Major: 253, Minor: 1}
	w := &world{lost: func(dev remap.Dev) ([]string, error) {
		if dev == lost {
			return []string{"vg/snap"}, nil
		}
		return nil, nil
	}}
	job := dispatch.Job{Src: ends.Endpoint{Name: "a", Dev: remap.Dev{Major: 8}}, Dst: ends.Endpoint{Name: "b", Dev: lost}}
	err := w.lostSnapshot(unix.EIO, job)
	const want = "b is on the snapshot vg/snap, which is lost, because it is full or its store failed: remove it (lvremove vg/snap), take a larger one, and copy again: "
	if !errors.Is(err, unix.EIO) || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("%v", err)
	}
	// Zeroes instead of all of it are no way out.
	read := &emulation.Error{Op: "read", Device: "/dev/dm-1", Err: unix.EIO}
	if err := w.explain(read, job, ""); !strings.HasPrefix(err.Error(), want) {
		t.Errorf("%v", err)
	}
	if err := w.lostSnapshot(unix.ENOSPC, job); err != unix.ENOSPC {
		t.Errorf("%v", err)
	}
	job.Dst.Dev = job.Src.Dev
	if err := w.lostSnapshot(unix.EIO, job); err != unix.EIO {
		t.Errorf("%v", err)
	}
}

// TestSourceGrowth: what a copy of all of a source lacks by the end of it is told of.
func TestSourceGrowth(t *testing.T) {
	job := dispatch.Job{Src: ends.Endpoint{Name: "a"}, Dst: ends.Endpoint{Name: "b"}}
	for grown, want := range map[int64]string{0: "", 512: "a has grown by 512 B while it was copied, and these are missing in the copy: make b as long"} {
		if got := strings.Join(afterwards(&account.Report{SourceState: account.SourceState{SourceGrown: grown}}, job), "; "); !strings.HasPrefix(got, want) || (want == "") != (got == "") {
			t.Errorf("%d: %q", grown, got)
		}
	}
}
