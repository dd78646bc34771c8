package integritysb

import (
	"encoding/binary"
	"errors"
	"testing"

	"github.com/dmcopy/dmcopy/remap"
)

// fields is a superblock as the kernel's structure has it.
type fields struct {
	version, interleave uint8
	tag                 uint16
	sections            uint32
	provided            uint64
	flags               uint32
	block               uint8
	recalculated        uint64
}

func (f fields) bytes() []byte {
	b := append([]byte("integrt\x00"), f.version, f.interleave)
	b = binary.LittleEndian.AppendUint16(b, f.tag)
	b = binary.LittleEndian.AppendUint32(b, f.sections)
	b = binary.LittleEndian.AppendUint64(b, f.provided)
	b = binary.LittleEndian.AppendUint32(b, f.flags)
	b = append(b, f.block, 15, 0, 0)
	b = binary.LittleEndian.AppendUint64(b, f.recalculated)
	return append(b, make([]byte, MinSize-len(b))...)
}

// vm is what a kernel wrote to a device of 8 MiB, with crc32c tags of 4 bytes
// and the journal as short as it gets.
var vm = fields{version: 1, interleave: 15, tag: 4, sections: 1, provided: 15944}

// TestGolden: lengths that a running kernel was seen to use.
func TestGolden(t *testing.T) {
	for name, v := range map[string]struct {
		fields
		initial, run remap.Sector
	}{
		"8 MiB":                  {vm, 8 + 176, 256},
		"fixed padding":          {fields{version: 4, interleave: 15, tag: 4, sections: 1, provided: 15944, flags: 8}, 184, 256},
		"seen, 4096-byte blocks": {fields{version: 1, interleave: 10, tag: 4, sections: 1, provided: 15504, block: 3}, 400, 256},
		"seen, fixed padding":    {fields{version: 4, interleave: 9, tag: 32, sections: 1, provided: 18720, flags: 8}, 96, 32},
		"seen, 56 sections":      {fields{version: 4, interleave: 15, tag: 32, sections: 56, provided: 13016, flags: 8}, 4936, 2048},
		"narrow, not fixed":      {fields{version: 1, interleave: 10, tag: 4, sections: 1, provided: 8}, 184, 256},
		"narrow, fixed":          {fields{version: 4, interleave: 10, tag: 4, sections: 1, provided: 8, flags: 8}, 184, 8},
		"22 sections":            {fields{version: 1, interleave: 15, tag: 4, sections: 22, provided: 8}, 8 + 22*176, 256},
		"4096-byte blocks":       {fields{version: 4, interleave: 15, tag: 32, sections: 3, provided: 8, flags: 8, block: 3}, 8 + 3*(4*8*8+8), 256},
		"MAC":                    {fields{version: 1, interleave: 15, tag: 4, sections: 1, provided: 8, flags: 1}, 8 + 20*8 + 8, 256},
		"tags on another device": {fields{version: 3, tag: 4, sections: 1, provided: 8}, 184, 0},
		"inline":                 {fields{version: 6, tag: 4, provided: 8, flags: 0x20}, 8, 0},
	} {
		s, err := Parse(v.bytes())
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if s.Initial() != v.initial || s.Run() != v.run {
			t.Errorf("%s: initial %d, run %d; want %d, %d", name, s.Initial(), s.Run(), v.initial, v.run)
		}
	}
}

func TestFields(t *testing.T) {
	s, err := Parse(fields{version: 2, interleave: 15, tag: 64, sections: 7, provided: 1 << 20, flags: 2, block: 3, recalculated: 4096}.bytes())
	want := Super{Version: 2, Flags: Recalculating, TagSize: 64, JournalSections: 7, Provided: 1 << 20, Interleave: 32768, BlockSize: 8, Recalculated: 4096}
	if err != nil || *s != want {
		t.Errorf("%+v, %v", s, err)
	}
}

// TestRefused breaks one thing at a time.
func TestRefused(t *testing.T) {
	for name, breaks := range map[string]func(f *fields){
		"version 0":           func(f *fields) { f.version = 0 },
		"version 7":           func(f *fields) { f.version = 7 },
		"narrow":              func(f *fields) { f.interleave = 2 },
		"wide":                func(f *fields) { f.interleave = 32 },
		"negative":            func(f *fields) { f.interleave = 255 },
		"no tags":             func(f *fields) { f.tag = 0 },
		"huge tags":           func(f *fields) { f.tag = 500 },
		"no journal":          func(f *fields) { f.sections = 0 },
		"long journal":        func(f *fields) { f.sections = 1 << 31 },
		"no sectors":          func(f *fields) { f.provided = 0 },
		"too many sectors":    func(f *fields) { f.provided = 1<<54 + 1 },
		"negative sectors":    func(f *fields) { f.provided = 1 << 63 },
		"half a block":        func(f *fields) { f.block = 3; f.provided = 12 },
		"block size":          func(f *fields) { f.block = 4 },
		"unknown flag":        func(f *fields) { f.version = 6; f.flags = 0x80 },
		"flag of version 2":   func(f *fields) { f.flags = 2 },
		"flag of version 4":   func(f *fields) { f.version = 3; f.flags = 8 },
		"flag of version 6":   func(f *fields) { f.version = 5; f.flags = 0x20; f.sections, f.interleave = 0, 0 },
		"inline with journal": func(f *fields) { f.version = 6; f.flags = 0x20 },
		"recalculated":        func(f *fields) { f.recalculated = 1 << 60 },
	} {
		f := vm
		breaks(&f)
		if s, err := Parse(f.bytes()); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: %+v, %v", name, s, err)
		}
	}
	if _, err := Parse(vm.bytes()[:MinSize-1]); !errors.Is(err, ErrFormat) {
		t.Errorf("short: %v", err)
	}
	if _, err := Parse(make([]byte, 4096)); !errors.Is(err, ErrFormat) {
		t.Errorf("zeroes: %v", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(vm.bytes())
	f.Add(fields{version: 6, tag: 4, provided: 8, flags: 0x20}.bytes())
	f.Add(fields{version: 4, interleave: 31, tag: 32, sections: 3, provided: 8, flags: 8, block: 3}.bytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := Parse(b)
		if err != nil {
			if !errors.Is(err, ErrFormat) {
				t.Fatal(err)
			}
			return
		}
		if s.Initial() < Sectors || s.Run() < 0 || s.Run()%8 != 0 || s.Interleave > 0 && s.Run() == 0 {
			t.Fatalf("%+v: initial %d, run %d", s, s.Initial(), s.Run())
		}
	})
}
