package bcache

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/dmcopy/dmcopy/remap"
)

// superblock builds the superblock of a backing device.
func superblock(version, offset uint64, keys uint16) []byte {
	b := make([]byte, SuperSize)
	le := binary.LittleEndian
	le.PutUint64(b[8:], 8)
	le.PutUint64(b[16:], version)
	copy(b[24:], "\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81")
	uuid, _ := hex.DecodeString(strings.ReplaceAll(testUUID, "-", ""))
	copy(b[40:], uuid)
	le.PutUint64(b[184:], offset)
	le.PutUint16(b[192:], 1)
	le.PutUint16(b[206:], keys)
	return sign(b)
}

func sign(b []byte) []byte {
	end := 208 + 8*int(binary.LittleEndian.Uint16(b[206:]))
	binary.LittleEndian.PutUint64(b, crcBitwise(b[8:end]))
	return b
}

// crcBitwise is the checksum bit by bit.
func crcBitwise(b []byte) uint64 {
	crc := ^uint64(0)
	for _, c := range b {
		for bit := 7; bit >= 0; bit-- {
			top := crc>>63 ^ uint64(c>>bit&1)
			crc <<= 1
			if top == 1 {
				crc ^= 0x42f0e1eba9ea3693
			}
		}
	}
	return ^crc
}

// TestCRC64: the check value of CRC-64/WE, which this is.
func TestCRC64(t *testing.T) {
	if got := crc64([]byte("123456789")); got != 0x62ec59e3f1a4f00a {
		t.Errorf("%016x", got)
	}
}

func TestParseSuper(t *testing.T) {
	for _, c := range []struct {
		version, offset uint64
		keys            uint16
		want            remap.Sector // -1 for none
	}{
		{1, 0, 0, 16}, {1, 8192, 0, 16}, // the field is not looked at
		{4, 16, 0, 16}, {4, 8192, 0, 8192}, {6, 2048, 0, 2048}, {4, 16, 256, 16}, {4, uint64(remap.MaxSectors), 0, remap.MaxSectors},
		{4, 15, 0, -1}, {4, 0, 0, -1}, {6, 8, 0, -1}, {4, uint64(remap.MaxSectors) + 1, 0, -1}, {4, 1 << 63, 0, -1},
		{0, 16, 0, -1}, {2, 16, 0, -1}, {3, 16, 0, -1}, {5, 16, 0, -1}, {7, 16, 0, -1}, {1 << 32, 16, 0, -1},
	} {
		got, err := ParseSuper(superblock(c.version, c.offset, c.keys))
		if c.want < 0 {
			if !errors.Is(err, errBadSuper) {
				t.Errorf("version %d, offset %d: %+v, %v", c.version, c.offset, got, err)
			}
			continue
		}
		if want := (&Super{UUID: testUUID, Offset: c.want}); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("version %d, offset %d: %+v, %v", c.version, c.offset, got, err)
		}
	}
}

// TestSuperThatBcacheRefuses: what read_super does not accept.
func TestSuperThatBcacheRefuses(t *testing.T) {
	for name, change := range map[string]func(b []byte) []byte{
		"short":             func(b []byte) []byte { return b[:SuperSize-1] },
		"empty":             func(b []byte) []byte { return nil },
		"zeroes":            func(b []byte) []byte { return make([]byte, SuperSize) },
		"magic":             func(b []byte) []byte { b[24]++; return sign(b) },
		"written elsewhere": func(b []byte) []byte { b[8]++; return sign(b) },
		"no UUID":           func(b []byte) []byte { clear(b[40:56]); return sign(b) },
		"too many keys":     func(b []byte) []byte { b[207] = 2; return b },
		"checksum":          func(b []byte) []byte { b[0]++; return b },
	} {
		if got, err := ParseSuper(change(superblock(4, 16, 0))); !errors.Is(err, errBadSuper) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

// TestEveryBitOfTheSuperCounts: none of what the checksum covers can change.
func TestEveryBitOfTheSuperCounts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		keys := rapid.Uint16Range(0, maxKeys).Draw(t, "keys")
		b := superblock(4, 16, keys)
		at := rapid.IntRange(0, 207+8*int(keys)).Draw(t, "byte")
		b[at] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
		if got, err := ParseSuper(b); err == nil {
			t.Fatalf("byte %d: %+v", at, got)
		}
	})
}

// TestSuperOfMakeBcache: superblocks that make-bcache 1.0.8 has written, without
// and with an offset. The rest of their 4096 bytes is zero.
func TestSuperOfMakeBcache(t *testing.T) {
	for _, c := range []struct {
		text string
		want Super
	}{
		{
			"f241f33964f44bc308000000000000000100000000000000c68573f64e1a45ca8265f57f48ba6d81805fab98c27947f6" +
				"ac3967b36c7fe319e75197d477894a0dbaa68e8fa2cb9ea9000000000000000000000000000000000000000000000000" +
				"000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000" +
				"000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000" +
				"08000004000000000000000000000000",
			Super{UUID: "805fab98-c279-47f6-ac39-67b36c7fe319", Offset: 16},
		},
		{
			"6607410f9daa8f2308000000000000000400000000000000c68573f64e1a45ca8265f57f48ba6d81a58ec47905b0400c" +
				"9fb81145a737485352ed825d2c7942a488f562419033d039000000000000000000000000000000000000000000000000" +
				"000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000" +
				"000000000000000000000000000000000000000000000000000000000000000000000000000000000008000000000000" +
				"08000004000000000000000000000000",
			Super{UUID: "a58ec479-05b0-400c-9fb8-1145a7374853", Offset: 2048},
		},
	} {
		b := make([]byte, SuperSize)
		if _, err := hex.Decode(b, []byte(c.text)); err != nil {
			t.Fatal(err)
		}
		if got, err := ParseSuper(b); err != nil || *got != c.want {
			t.Errorf("%+v, %v", got, err)
		}
	}
}

func FuzzSuper(f *testing.F) {
	f.Add(superblock(1, 0, 0))
	f.Add(superblock(4, 8192, 256))
	f.Add(superblock(6, 16, 1))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) >= SuperSize { // most of what is tried has a right sum
			if keys := int(binary.LittleEndian.Uint16(b[206:])); keys <= maxKeys {
				sign(b)
			}
		}
		s, err := ParseSuper(b)
		if err != nil {
			return
		}
		if s.Offset < minOffset || s.Offset > remap.MaxSectors || !uuid.MatchString(s.UUID) {
			t.Fatalf("%+v", s)
		}
	})
}
