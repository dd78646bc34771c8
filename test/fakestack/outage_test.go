package fakestack

import (
	"bytes"
	"errors"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/remap"
)

// written are a disk and a device on it, of which each sector was written twice since the
// last flush: with its first version, and its second.
func written(t *testing.T) (m *Machine, disk remap.Dev, held func() map[byte]int) {
	t.Helper()
	const size = 256
	m = New(1)
	disk = m.AddDisk(size, sectorSize)
	for _, version := range []byte{0, 1, 2} {
		if _, err := m.Open(disk).WriteAt(bytes.Repeat([]byte{version}, size*sectorSize), 0); err != nil {
			t.Fatal(err)
		}
		if version > 0 {
			continue
		}
		if err := m.Open(disk).Flush(); err != nil {
			t.Fatal(err)
		}
	}
	return m, disk, func() map[byte]int {
		versions := make(map[byte]int)
		data := m.Content(disk, 0, size)
		for s := range size {
			versions[data[s*sectorSize]]++
		}
		return versions
	}
}

// TestOutage: what was not flushed is lost, or any part of it, and the same one for one
// seed.
func TestOutage(t *testing.T) {
	m, _, held := written(t)
	m.Crash()
	if got := held(); got[0] != 256 {
		t.Errorf("%v", got)
	}
	all := make(map[byte]int)
	for seed := range uint64(32) {
		m, _, held := written(t)
		m.PowerCut(Outage{seed + 1})
		first := held()
		again, _, heldAgain := written(t)
		again.PowerCut(Outage{seed + 1})
		for version, n := range first {
			if all[version] += n; heldAgain()[version] != n {
				t.Errorf("seed %d: %v, and then %v", seed, first, heldAgain())
			}
		}
	}
	if all[0] == 0 || all[1] == 0 || all[2] == 0 {
		t.Errorf("%v", all)
	}
}

// TestFailedFlush: what it loses is lost, and the next flush says nothing of it.
func TestFailedFlush(t *testing.T) {
	m, disk, held := written(t)
	m.FailFlush(disk, Outage{})
	if err := m.Open(disk).Flush(); !errors.Is(err, unix.EIO) || held()[0] != 256 {
		t.Errorf("%v, %v", err, held())
	}
	if err := m.Open(disk).Flush(); err != nil {
		t.Error(err)
	}
}
