package mdraid

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"testing"

	"pgregory.net/rapid"

	"github.com/dmcopy/dmcopy/remap"
)

// field is a number in a superblock, little-endian.
type field struct {
	at, width int
	value     uint64
}

// super1 is the superblock of the second member of a raid1 of 4 MiB, at sector
// at, with some numbers changed.
func super1(at uint64, changes ...field) []byte {
	b := make([]byte, superBytes)
	copy(b[16:], "0123456789abcdef")
	copy(b[32:], "host:0")
	copy(b[168:], "fedcba9876543210")
	fields := []field{
		{0, 4, 0xa92b4efc}, {4, 4, 1}, {72, 4, 1}, {80, 8, 8192}, {92, 4, 2}, {128, 8, 2048}, {136, 8, 8192}, {144, 8, at},
		{160, 4, 1}, {200, 8, 17}, {208, 8, 1<<64 - 1}, {220, 4, 128}, {256, 2, 0}, {258, 2, 1},
	}
	for i := 2; i < 128; i++ {
		fields = append(fields, field{256 + 2*i, 2, 0xffff})
	}
	put(b, fields)
	put(b, changes)
	put(b, []field{{216, 4, uint64(checksum1(b))}})
	put(b, changes) // perhaps of the checksum
	return b
}

func put(b []byte, fields []field) {
	for _, f := range fields {
		for i := range f.width {
			b[f.at+i] = byte(f.value >> (8 * i))
		}
	}
}

// checksum1 adds 16 bits at a time: the halves of each word where they belong.
func checksum1(b []byte) uint32 {
	count := int(binary.LittleEndian.Uint32(b[220:]))
	var sum uint64
	for i := 0; i < 256+2*count && i+2 <= len(b); i += 2 {
		if i/4 != 216/4 {
			sum += uint64(b[i])<<(8*(i%4)) + uint64(b[i+1])<<(8*(i%4)+8)
		}
	}
	return uint32(sum&0xffffffff + sum>>32)
}

// disk is a device with a superblock at a sector.
func disk(size remap.Sector, at remap.Sector, super []byte) io.ReaderAt {
	b := make([]byte, size.Bytes())
	copy(b[at.Bytes():], super)
	return bytes.NewReader(b)
}

func TestSuper1(t *testing.T) {
	const size = 16391 // no multiple of anything
	for version, at := range map[string]remap.Sector{"1.1": 0, "1.2": 8, "1.0": 16368} {
		for _, asked := range []string{"", version} {
			s, err := ReadSuper(disk(size, at, super1(uint64(at))), size, asked)
			if err != nil {
				t.Fatal(version, err)
			}
			want := Super{Version: version, Name: "host:0", Level: 1, RaidDisks: 2, Component: 8192, DataOffset: 2048, DataSize: 8192,
				Events: 17, Role: 1, Progress: Progress{Synced: remap.MaxSectors, Recovered: remap.MaxSectors}}
			copy(want.Set[:], "0123456789abcdef")
			copy(want.Device[:], "fedcba9876543210")
			if *s != want {
				t.Errorf("%+v, want %+v", *s, want)
			}
		}
	}
}

func TestSuper1Fields(t *testing.T) {
	for name, test := range map[string]struct {
		change field
		want   func(*Super) bool
	}{
		"negative level":  {field{72, 4, 0xffffffff}, func(s *Super) bool { return s.Level == -1 }},
		"layout":          {field{76, 4, 0x40201}, func(s *Super) bool { return s.Layout == 0x40201 }},
		"chunk":           {field{88, 4, 128}, func(s *Super) bool { return s.Chunk == 128 }},
		"reshape":         {field{8, 4, 4}, func(s *Super) bool { return s.Reshape }},
		"recovering":      {field{8, 4, 2}, func(s *Super) bool { return s.Recovered == 0 }},
		"resync":          {field{208, 8, 4096}, func(s *Super) bool { return s.Synced == 4096 }},
		"spare":           {field{258, 2, 0xffff}, func(s *Super) bool { return s.Role == RoleSpare }},
		"faulty":          {field{258, 2, 0xfffe}, func(s *Super) bool { return s.Role == RoleFaulty }},
		"journal":         {field{258, 2, 0xfffd}, func(s *Super) bool { return s.Role == RoleJournal }},
		"number too high": {field{160, 4, 128}, func(s *Super) bool { return s.Role == RoleSpare }},
		"odd roles":       {field{220, 4, 3}, func(s *Super) bool { return s.Role == 1 }},
	} {
		s, err := ReadSuper(disk(64, 0, super1(0, test.change)), 64, "1.1")
		if err != nil || !test.want(s) {
			t.Errorf("%s: %+v, %v", name, s, err)
		}
	}
}

func TestSuperRefused(t *testing.T) {
	for name, test := range map[string]struct {
		change field
		want   error
	}{
		"magic":            {field{0, 4, 0xa92b4efd}, ErrNoSuper},
		"version 2":        {field{4, 4, 2}, ErrNoSuper},
		"elsewhere":        {field{144, 8, 8}, ErrNoSuper},
		"checksum":         {field{216, 4, 1}, ErrBadSuper},
		"unknown feature":  {field{8, 4, 1 << 13}, ErrBadSuper},
		"too many roles":   {field{220, 4, 1921}, ErrBadSuper},
		"size":             {field{80, 8, 1 << 60}, ErrBadSuper},
		"data offset":      {field{128, 8, 1<<64 - 1}, ErrBadSuper},
		"resync offset":    {field{208, 8, 1<<64 - 2}, ErrBadSuper},
		"nothing but zero": {field{0, 4, 0}, ErrNoSuper},
	} {
		_, err := ReadSuper(disk(64, 0, super1(0, test.change)), 64, "")
		var wrapped *Error
		if !errors.Is(err, test.want) || !errors.As(err, &wrapped) {
			t.Errorf("%s: %v, want %v", name, err, test.want)
		}
	}
}

func TestSuperOfShortDevice(t *testing.T) {
	for size := range remap.Sector(24) {
		if _, err := ReadSuper(disk(size, 0, nil), size, ""); !errors.Is(err, ErrNoSuper) {
			t.Errorf("%d sectors: %v", size, err)
		}
	}
	// A device that is shorter than it is said to be.
	if _, err := ReadSuper(disk(8, 0, nil), 1024, "1.0"); !errors.Is(err, io.EOF) {
		t.Error(err)
	}
	if _, err := ReadSuper(disk(8, 0, nil), remap.MaxSectors+1, "1.0"); !errors.Is(err, ErrNoSuper) {
		t.Error(err)
	}
}

// word is a number of 32 bits in a superblock of version 0.90.
type word struct {
	at    int
	value uint32
}

func super0(changes ...word) []byte {
	b := make([]byte, superBytes)
	words := []word{
		{0, superMagic}, {1, 0}, {2, 90}, {5, 1}, {7, 5}, {8, 1024}, {10, 3}, {13, 2}, {14, 3}, {15, 4}, {33, 1}, {64, 2}, {65, 65536},
		{992, 1}, {995, 1}, {996, 6},
	}
	for _, w := range append(words, changes...) {
		binary.NativeEndian.PutUint32(b[4*w.at:], w.value)
	}
	sum := uint64(0)
	for i := 0; i < len(b); i += 4 {
		sum += uint64(binary.NativeEndian.Uint32(b[i:]))
	}
	sum = sum&0xffffffff + sum>>32
	if !containsWord(changes, 38) {
		binary.NativeEndian.PutUint32(b[4*38:], uint32(sum))
	}
	return b
}

func containsWord(list []word, at int) bool {
	for _, w := range list {
		if w.at == at {
			return true
		}
	}
	return false
}

func TestSuper0(t *testing.T) {
	const size = 2048 + 200
	const at = 2176 - 128
	binaryEvents := make([]byte, 8)
	binary.NativeEndian.PutUint64(binaryEvents, 1<<32+5)
	lo, hi := binary.NativeEndian.Uint32(binaryEvents), binary.NativeEndian.Uint32(binaryEvents[4:])
	for name, test := range map[string]struct {
		changes []word
		want    func(*Super) bool
	}{
		"whole": {nil, func(s *Super) bool {
			return s.Version == "0.90" && s.Level == 5 && s.Layout == 2 && s.Chunk == 128 && s.RaidDisks == 3 && s.Component == 2048 &&
				s.DataOffset == 0 && s.DataSize == at && s.Role == 1 && s.Synced == remap.MaxSectors && !s.Reshape
		}},
		"events":        {[]word{{39, lo}, {40, hi}}, func(s *Super) bool { return s.Events == 1<<32+5 }},
		"unclean":       {[]word{{33, 0}, {39, lo}}, func(s *Super) bool { return s.Synced == 0 }},
		"resync":        {[]word{{33, 0}, {43, 77}}, func(s *Super) bool { return s.Synced == 77 }},
		"reshape":       {[]word{{2, 91}}, func(s *Super) bool { return s.Reshape }},
		"spare":         {[]word{{996, 0}}, func(s *Super) bool { return s.Role == RoleSpare }},
		"faulty":        {[]word{{996, 1}}, func(s *Super) bool { return s.Role == RoleFaulty }},
		"folded sum":    {[]word{{38, fold(sum0(super0()))}}, func(s *Super) bool { return true }},
		"level of none": {[]word{{7, 0xffffffff}}, func(s *Super) bool { return s.Level == -1 }},
	} {
		s, err := ReadSuper(disk(size, at, super0(test.changes...)), size, "")
		if err != nil || !test.want(s) {
			t.Errorf("%s: %+v, %v", name, s, err)
		}
	}
	for name, change := range map[string]word{"version": {2, 92}, "sum": {38, 12345}, "no disks": {10, 0}, "many disks": {10, 28}} {
		if _, err := ReadSuper(disk(size, at, super0(change)), size, ""); !errors.Is(err, ErrBadSuper) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The superblock of a member and sysfs agree, or the difference is named.
func TestAgrees(t *testing.T) {
	f := fixture(t, "raid1 2 8192 8192")
	read := func(changes ...field) *Super {
		s, err := ReadSuper(disk(64, 8, super1(8, changes...)), 64, "1.2")
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	a := arrayOf(t, f)
	if err := read().Agrees(a, &a.Members[1]); err != nil {
		t.Error(err)
	}
	for name, change := range map[string]field{
		"offset": {128, 8, 4096}, "size": {80, 8, 8190}, "disks": {92, 4, 3}, "chunk": {88, 4, 128}, "layout": {76, 4, 1},
	} {
		if err := read(change).Agrees(a, &a.Members[1]); !errors.Is(err, ErrDiffers) {
			t.Errorf("%s: %v", name, err)
		}
	}
	a.Members[1].Attrs["state"] = "odd"
	if err := read().Agrees(a, &a.Members[1]); !errors.Is(err, ErrBadArray) {
		t.Error(err)
	}
}

// A bit that flips anywhere in what the checksum covers is noticed.
func TestSuperBitFlips(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := super1(0)
		b[rapid.IntRange(0, 256+2*128-1).Draw(t, "byte")] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
		if s, err := ReadSuper(disk(64, 0, b), 64, "1.1"); err == nil {
			t.Fatalf("accepted: %+v", s)
		}
	})
}

// FuzzSuper: whatever is on a disk, nothing panics, and what is accepted has
// numbers that can be. With a good checksum, so that the fuzzer gets past it.
func FuzzSuper(f *testing.F) {
	f.Add(super1(0), false, uint16(64))
	f.Add(super1(8, field{8, 4, 2}), true, uint16(64))
	f.Add(super0(), true, uint16(2248))
	f.Fuzz(func(t *testing.T, b []byte, mend bool, size uint16) {
		if len(b) < superBytes {
			return
		}
		b = bytes.Clone(b[:superBytes])
		if count := binary.LittleEndian.Uint32(b[220:]); mend && count <= maxDev {
			put(b, []field{{216, 4, uint64(checksum1(b))}})
		}
		for _, place := range superPlaces {
			at := place.at(remap.Sector(size))
			if at < 0 || at+8 > remap.Sector(size) {
				continue
			}
			s, err := ReadSuper(disk(remap.Sector(size), at, b), remap.Sector(size), "")
			if err != nil {
				if !errors.Is(err, ErrNoSuper) && !errors.Is(err, ErrBadSuper) {
					t.Fatal(err)
				}
				continue
			}
			for _, n := range []remap.Sector{s.Component, s.DataOffset, s.DataSize, s.Chunk, s.Synced, s.Recovered} {
				if n < 0 || n > remap.MaxSectors {
					t.Fatalf("%+v", s)
				}
			}
			if s.Role < RoleJournal || s.RaidDisks < 0 {
				t.Fatalf("%+v", s)
			}
		}
	})
}
