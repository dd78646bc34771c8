package fakestack

import (
	"bytes"
	"testing"

	"github.com/dmcopy/dmcopy/remap"
)

// TestCryptBlocks: what is stored depends on key, position and all of the block.
func TestCryptBlocks(t *testing.T) {
	for _, block := range []remap.Sector{1, 8} {
		m := New(1)
		disk := m.AddDisk(64, sectorSize)
		key := Key{Secret: 7, Block: block}
		at := func(start remap.Sector, key Key, iv uint64) remap.Dev {
			return m.AddMapped(Segment{Len: 16, Target: Crypt{Place: Place{disk, start}, Key: key, IV: iv}})
		}
		dev := at(0, key, 0)
		plain := bytes.Repeat([]byte("plaintext-sector"), 16*sectorSize/16)
		m.Fill(dev, 0, plain)
		stored := m.Content(disk, 0, 16)
		if !bytes.Equal(m.Content(dev, 0, 16), plain) || bytes.Equal(stored[:sectorSize], stored[8*sectorSize:][:sectorSize]) {
			t.Error("equal contents at two positions are stored alike, or not read back")
		}
		for name, other := range map[string]remap.Dev{
			"another key":      at(0, Key{Secret: 8, Block: block}, 0),
			"another position": at(0, key, 8),
		} {
			if got := m.Content(other, 0, 16); bytes.Equal(got[:sectorSize], plain[:sectorSize]) {
				t.Errorf("deciphered with %s", name)
			}
		}

		// A sector that changes takes its whole block along, and nothing else.
		m.Fill(dev, 3, make([]byte, sectorSize))
		now := m.Content(disk, 0, 16)
		for s := range remap.Sector(16) {
			changed := !bytes.Equal(now[s.Bytes():][:sectorSize], stored[s.Bytes():][:sectorSize])
			if want := s/block == 3/block; changed != want {
				t.Errorf("blocks of %d: stored sector %d changed: %v", block, s, changed)
			}
		}

		// A block of two ciphertexts is garbage all over.
		m.Fill(disk, 0, stored[:4*sectorSize])
		mixed := m.Content(dev, 0, 8)
		for s := range remap.Sector(8) {
			garbage := !bytes.Equal(mixed[s.Bytes():][:sectorSize], plain[:sectorSize])
			if garbage != (block == 8) {
				t.Errorf("blocks of %d: sector %d is garbage: %v", block, s, garbage)
			}
		}
	}
}

// TestSnapshotKeeps: a snapshot reads what the origin held, through exceptions
// that are no change of layout, until it has no room.
func TestSnapshotKeeps(t *testing.T) {
	m := New(1)
	disk := m.AddDisk(128, sectorSize)
	real := m.AddMapped(Segment{Len: 30, Target: Linear{disk, 0}})
	snap := &Snapshot{Origin: Place{Dev: real}, Cow: Place{disk, 64}, Chunk: 4, Room: 2}
	dev := m.AddMapped(Segment{Len: 30, Target: snap})
	origin := m.AddMapped(Segment{Len: 30, Target: Origin{Place: Place{Dev: real}, Snapshots: []*Snapshot{snap}}})
	frozen := m.Content(dev, 0, 30)
	before, err := m.Stack(t.Context(), dev)
	if err != nil {
		t.Fatal(err)
	}
	m.Scribble(origin, 9, make([]byte, 3*sectorSize))
	m.Scribble(origin, 28, make([]byte, sectorSize))
	if m.Exceptions(snap) != 2 || !bytes.Equal(m.Content(dev, 0, 30), frozen) || bytes.Equal(m.Content(origin, 0, 30), frozen) {
		t.Errorf("%d exceptions, or the snapshot is not what it was", m.Exceptions(snap))
	}
	after, err := m.Stack(t.Context(), dev)
	if err != nil {
		t.Fatal(err)
	}
	if changes := before.Changes(after); len(changes) > 0 || !after.CopiesOnWrite(dev) || after.CopiesOnWrite(real) {
		t.Errorf("%v", changes)
	}
	var got []remap.Sector
	for e, err := range after.Resolve(remap.Read, remap.Range{Dev: dev, Len: 30}) {
		if err != nil || e.Kind != remap.Data {
			t.Fatalf("%v, %+v", err, e)
		}
		got = append(got, e.Leg.Start, e.Len)
	}
	if want := []remap.Sector{0, 8, 64, 4, 12, 16, 68, 2}; len(got) != len(want) || [8]remap.Sector(got) != [8]remap.Sector(want) {
		t.Errorf("lies at %v, want %v", got, want)
	}
	m.Scribble(origin, 0, make([]byte, sectorSize))
	if !m.Invalid(snap) || m.readSector(dev, 20, make([]byte, sectorSize)) == nil {
		t.Error("a snapshot without room is valid")
	}
}
