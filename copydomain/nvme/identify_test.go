package nvme

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
	"testing"

	"github.com/dmcopy/dmcopy/copydomain/blocks"
)

// identifyBytes puts dumps at byte offsets, as the figures of the specification
// number them.
func identifyBytes(t testing.TB, at map[int]string) []byte {
	t.Helper()
	b := make([]byte, IdentifySize)
	for offset, dump := range at {
		copy(b[offset:], golden(t, dump))
	}
	return b
}

// By hand, with the values that QEMU 10.0.2 reports: ONCS 075Dh, OCFS 000Fh,
// VWC 07h, MDTS 7, version 1.4.
func TestParseController(t *testing.T) {
	b := identifyBytes(t, map[int]string{
		0:   "361b f41a",
		4:   "64656164626565662020202020202020 20202020", // "deadbeef"
		24:  "51454d55204e564d65204374726c20202020202020202020 20202020202020202020202020202020",
		64:  "31302e302e32 2020", // "10.0.2"
		77:  "07",
		78:  "0200",
		80:  "00040100",
		261: "02",
		520: "5d07",
		525: "07",
		534: "0f00",
		768: "6e716e2e323031392d30382e6f72672e71656d753a73756230 00",
	})
	got, err := ParseController(b)
	want := Controller{
		Serial: "deadbeef", Model: "QEMU NVMe Ctrl", Firmware: "10.0.2", SubNQN: "nqn.2019-08.org.qemu:sub0",
		CNTLID: 2, Version: 0x10400, MDTS: 7, EffectsLog: true, Copy: true, CopyFormats: 0xF,
		VolatileCache: true, CopySingleAtom: true,
	}
	if err != nil || got != want {
		t.Errorf("%+v (%v), want %+v", got, err, want)
	}
}

// By hand, with QEMU's default limits: MSSRL 128, MCL 128, MSRC 127.
func TestParseNamespace(t *testing.T) {
	fields := map[int]string{
		0:  "0000200000000000", // 2^21 blocks
		25: "07", 26: "04", 29: "00", 30: "01",
		74: "8000", 76: "80000000", 80: "7f",
		104: "000102030405060708090a0b0c0d0e0f",
		120: "525400fffe123456",
		128: "00000900 08000900 10000900 40000900 00000c00", // formats 0 to 4
	}
	got, err := ParseNamespace(identifyBytes(t, fields))
	want := Namespace{
		Blocks: 1 << 21, Format: 4, BlockSize: 4096, Shared: true,
		Limits: Limits{RangeBlocks: 128, CommandBlocks: 128, Ranges: 128},
		NGUID:  [16]byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15},
		EUI64:  [8]byte{0x52, 0x54, 0, 0xff, 0xfe, 0x12, 0x34, 0x56},
	}
	if err != nil || got != want {
		t.Errorf("%+v (%v), want %+v", got, err, want)
	}

	fields[26], fields[29] = "01", "09" // 512+8, protection type 1 in the first bytes
	fields[74], fields[80] = "ffff", "ff"
	got, err = ParseNamespace(identifyBytes(t, fields))
	if err != nil || got.BlockSize != 512 || got.MetadataSize != 8 || got.Protection != 1 || got.Limits != (Limits{65535, 128, 256}) {
		t.Errorf("%+v (%v)", got, err)
	}
}

// With more than 16 formats FLBAS bits 6:5 count as well, otherwise they do not.
func TestParseNamespaceFormatIndex(t *testing.T) {
	for name, tc := range map[string]struct {
		nlbaf, flbas byte
		format       int
		bad          bool
	}{
		"upper bits ignored":    {15, 0x61, 1, false},
		"upper bits counted":    {40, 0x21, 17, false},
		"extended metadata bit": {0, 0x10, 0, false},
		"beyond the table":      {3, 4, 4, true},
		"beyond the wide table": {17, 0x22, 18, true},
		"too many formats":      {64, 0, 0, true},
	} {
		b := identifyBytes(t, map[int]string{0: "01"})
		b[25], b[26] = tc.nlbaf, tc.flbas
		b[128+4*tc.format+2] = 12
		n, err := ParseNamespace(b)
		if tc.bad != errors.Is(err, blocks.ErrInvalid) || !tc.bad && n.BlockSize != 4096 {
			t.Errorf("%s: %+v, %v", name, n, err)
		}
	}
}

func TestParseNamespaceRefuses(t *testing.T) {
	for name, tc := range map[string]struct {
		fields map[int]string
		want   error
	}{
		"inactive":             {map[int]string{}, ErrInactive},
		"format not available": {map[int]string{0: "01"}, blocks.ErrInvalid},
		"256 byte blocks":      {map[int]string{0: "01", 130: "08"}, blocks.ErrInvalid},
		"2 MiB blocks":         {map[int]string{0: "01", 130: "15"}, blocks.ErrInvalid},
		"more than 2^63 bytes": {map[int]string{0: "0100000000004000", 130: "09"}, blocks.ErrInvalid},
	} {
		if _, err := ParseNamespace(identifyBytes(t, tc.fields)); !errors.Is(err, tc.want) {
			t.Errorf("%s: %v, want %v", name, err, tc.want)
		}
	}
}

func TestParseIdentifiers(t *testing.T) {
	b := identifyBytes(t, map[int]string{0: `
		01080000 525400fffe123456
		7f030000 aabbcc
		02100000 000102030405060708090a0b0c0d0e0f
		03100000 f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff
		04010000 02`})
	ids, err := ParseIdentifiers(b)
	if err != nil || ids.CommandSet != CommandSetZoned || ids.EUI64[0] != 0x52 || ids.NGUID[15] != 0xf || ids.UUID[0] != 0xf0 {
		t.Errorf("%+v (%v)", ids, err)
	}
	if ids, err := ParseIdentifiers(make([]byte, IdentifySize)); err != nil || ids != (Identifiers{}) {
		t.Errorf("empty list: %+v (%v)", ids, err)
	}
	for name, dump := range map[string]string{
		"EUI64 of 7":     "01070000 00000000000000",
		"CSI of 2":       "04020000 0000",
		"NGUID of a UID": "02080000 0000000000000000",
	} {
		if _, err := ParseIdentifiers(identifyBytes(t, map[int]string{0: dump})); !errors.Is(err, blocks.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	unknown := append([]byte{0x7f, 255, 0, 0}, make([]byte, 255)...)
	full := bytes.Repeat(unknown, 16)[:IdentifySize] // the last one does not fit
	if _, err := ParseIdentifiers(full); !errors.Is(err, blocks.ErrInvalid) {
		t.Errorf("descriptor behind the end: %v", err)
	}
}

func TestParseEffects(t *testing.T) {
	b := make([]byte, 4096)
	binary.LittleEndian.PutUint32(b[1024+4*0x19:], 0x3)
	if e, err := ParseEffects(b, OpCopy); err != nil || !e.Supported() {
		t.Errorf("%#x, %v", uint32(e), err)
	}
	if e, err := ParseEffects(b, OpFlush); err != nil || e.Supported() {
		t.Errorf("%#x, %v", uint32(e), err)
	}
}

func TestParsersRefuseShortBuffers(t *testing.T) {
	for n := range []int{0, 1, 520, 2047, 4095} {
		b := make([]byte, n)
		_, e1 := ParseController(b)
		_, e2 := ParseNamespace(b)
		_, e3 := ParseIdentifiers(b)
		_, e4 := ParseEffects(b, OpCopy)
		for i, err := range []error{e1, e2, e3, e4} {
			if !errors.Is(err, blocks.ErrShort) {
				t.Errorf("parser %d, %d bytes: %v", i, n, err)
			}
		}
	}
}

func FuzzParseController(f *testing.F) {
	f.Add(Controller{Serial: "x", SubNQN: "nqn.y", Copy: true, CopyFormats: 3, EffectsLog: true}.identify())
	f.Add([]byte("short"))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := ParseController(b)
		if (err == nil) != (len(b) >= IdentifySize) {
			t.Fatalf("%d bytes: %v", len(b), err)
		}
		if err != nil {
			return
		}
		if back, err := ParseController(c.identify()); err == nil && len(c.SubNQN) < 256 && back != c {
			t.Fatalf("%+v became %+v", c, back)
		}
	})
}

func FuzzParseNamespace(f *testing.F) {
	f.Add(Namespace{Blocks: 9, BlockSize: 4096, Limits: Limits{1, 2, 3}}.identify())
	f.Add(make([]byte, IdentifySize))
	f.Fuzz(func(t *testing.T, b []byte) {
		n, err := ParseNamespace(b)
		if err != nil {
			return
		}
		if n.Blocks == 0 || n.BlockSize < 512 || n.BlockSize&(n.BlockSize-1) != 0 || n.Blocks*uint64(n.BlockSize) > 1<<63 {
			t.Fatalf("%+v", n)
		}
		if n.Limits.Ranges == 0 || n.Limits.Ranges > 256 || n.Limits.RangeBlocks > 65535 {
			t.Fatalf("%+v", n.Limits)
		}
		if back, err := ParseNamespace(n.identify()); err != nil || back != n {
			t.Fatalf("%+v became %+v (%v)", n, back, err)
		}
	})
}

func FuzzParseIdentifiers(f *testing.F) {
	list := make([]byte, IdentifySize)
	copy(list, []byte{nidtCSI, 1, 0, 0, 2, nidtEUI64, 8, 0, 0})
	f.Add(list)
	f.Add(slices.Repeat([]byte{0x7f, 252, 0, 0}, IdentifySize/4))
	f.Fuzz(func(t *testing.T, b []byte) {
		ids, err := ParseIdentifiers(b)
		if err != nil && ids != (Identifiers{}) {
			t.Fatalf("%+v with %v", ids, err)
		}
	})
}
