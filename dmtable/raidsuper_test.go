package dmtable

import (
	"encoding/binary"
	"errors"
	"testing"

	"github.com/dmcopy/dmcopy/remap"
)

// raidSuper writes a superblock as super_sync of dm-raid.c does.
func raidSuper(members, level, layout, chunk uint32, sectors uint64) []byte {
	b := make([]byte, RaidSuperSize)
	for at, v := range map[int]uint32{0: 0x64526D44, 8: members, 48: level, 52: layout, 56: chunk} {
		binary.LittleEndian.PutUint32(b[at:], v)
	}
	binary.LittleEndian.PutUint64(b[112:], sectors)
	return b
}

func TestParseRaidSuper(t *testing.T) {
	good := raidSuper(4, 10, 0x40201, 128, 2048)
	s, err := ParseRaidSuper(good)
	if want := (RaidSuper{4, 10, 0x40201, 128, 2048}); err != nil || *s != want {
		t.Fatalf("%+v, %v", s, err)
	}
	for name, spoil := range map[string]func(b []byte) []byte{
		"cut short":          func(b []byte) []byte { return b[:511] },
		"another magic":      func(b []byte) []byte { b[0]++; return b },
		"reshape":            func(b []byte) []byte { b[60] = 1; return b },
		"unknown features":   func(b []byte) []byte { b[144] = 1; return b },
		"no sectors":         func(b []byte) []byte { clear(b[112:120]); return b },
		"impossible sectors": func(b []byte) []byte { b[119] = 0x80; return b },
	} {
		if _, err := ParseRaidSuper(spoil(append([]byte(nil), good...))); !errors.Is(err, ErrBadTable) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzRaidSuper(f *testing.F) {
	f.Add(raidSuper(4, 10, 0x40201, 128, 2048))
	f.Add(raidSuper(3, 1, 0, 0, 1<<40))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := ParseRaidSuper(b)
		if err == nil && (s.Sectors < 1 || s.Sectors > remap.MaxSectors || s.Chunk < 0) {
			t.Errorf("%+v", s)
		}
	})
}
