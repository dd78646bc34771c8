package nvme

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/dmcopy/dmcopy/copydomain/blocks"
)

// By hand from figure 39: format 2 is format 0 with SNSID in bytes 3:0 and SOPT,
// which stays zero, in bytes 23:22.
func TestEncodeGoldenFormat2(t *testing.T) {
	cmd := CopyCommand{DstLBA: 0xFEDCBA98_76543210, Ranges: []Range{
		{SrcLBA: 0x1000, Blocks: 11},
		{SrcLBA: 0x8877665544332211, Blocks: 65535},
		{SrcLBA: 0x300040000000, Blocks: 1},
	}}
	want := golden(t, `
		7856341200000000 0010000000000000 0a00000000000000 0000000000000000
		7856341200000000 1122334455667788 feff000000000000 0000000000000000
		7856341200000000 0000004000300000 0000000000000000 0000000000000000`)
	var wire Command
	buf := bytes.Repeat([]byte{0xEE}, MaxRanges*RangeSize)
	if err := cmd.EncodeFrom(&wire, 0x12345678, 7, buf); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(wire.Data, want) {
		t.Errorf("descriptors\n%x, want\n%x", wire.Data, want)
	}
	if wire.Opcode != 0x19 || wire.NSID != 7 || wire.CDW10 != 0x76543210 || wire.CDW11 != 0xFEDCBA98 || wire.CDW12 != 0x202 ||
		wire.CDW2|wire.CDW3|wire.CDW13|wire.CDW14|wire.CDW15 != 0 {
		t.Errorf("command %+v", wire)
	}
	if err := checkIO(&wire); err != nil {
		t.Errorf("what EncodeFrom made is refused: %v", err)
	}
	if _, err := DecodeRanges(nil, wire.Data); err == nil {
		t.Error("taken for format 0")
	}
	if ranges, snsid, err := DecodeRangesFrom(nil, wire.Data); err != nil || snsid != 0x12345678 || !slices.Equal(ranges, cmd.Ranges) {
		t.Errorf("decoded to %v from %d, %v", ranges, snsid, err)
	}
}

func TestCheckCrossCopyRefuses(t *testing.T) {
	for name, spoil := range map[string]func(*Command){
		"format 0":           func(c *Command) { c.CDW12 &^= 0xF00 },
		"format 1":           func(c *Command) { c.CDW12 = c.CDW12&^0xF00 | 1<<8 },
		"format 3":           func(c *Command) { c.CDW12 = c.CDW12&^0xF00 | 3<<8 },
		"format 3, its size": func(c *Command) { c.CDW12 = c.CDW12&^0xF00 | 3<<8; c.Data = make([]byte, 80) },
		"format 4":           func(c *Command) { c.CDW12 = c.CDW12&^0xF00 | 4<<8 },
		"read tags checked":  func(c *Command) { c.CDW12 |= 1 << 12 },
		"two sources":        func(c *Command) { c.Data[32] = 4 },
		"no source":          func(c *Command) { clear(c.Data[0:4]); clear(c.Data[32:36]) },
		"every source":       func(c *Command) { copy(c.Data, "\xff\xff\xff\xff"); copy(c.Data[32:], "\xff\xff\xff\xff") },
		"itself":             func(c *Command) { c.Data[0], c.Data[32] = 1, 1 },
	} {
		var wire Command
		cmd := CopyCommand{DstLBA: 9, Ranges: []Range{{1, 1}, {5, 1}}}
		if err := cmd.EncodeFrom(&wire, 3, 1, make([]byte, 64)); err != nil {
			t.Fatal(err)
		}
		spoil(&wire)
		if err := checkIO(&wire); err == nil {
			t.Errorf("%s: not refused", name)
		}
	}
	for _, snsid := range []uint32{0, 0xFFFFFFFF} {
		if _, err := EncodeRangesFrom(make([]byte, 32), snsid, []Range{{1, 1}}); !errors.Is(err, blocks.ErrInvalid) {
			t.Errorf("source %#x: %v", snsid, err)
		}
	}
}

func TestFormats(t *testing.T) {
	for f, size := range map[Format]int{Format0: 32, Format1: 40, Format2: 32, Format3: 40, Format4: 0, 9: 0} {
		if f.Size() != size || f.String() == "" || f.sent() != (f == Format0 || f == Format2) {
			t.Errorf("%v: %d bytes, sent: %v", f, f.Size(), f.sent())
		}
		if Formats(0).Has(f) || !Formats(1<<f).Has(f) {
			t.Errorf("%v is not in its set", f)
		}
	}
}

func FuzzDecodeRangesFrom(f *testing.F) {
	seed := make([]byte, 96)
	n, err := EncodeRangesFrom(seed, 9, []Range{{1, 1}, {1 << 40, 65536}, {7, 128}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed[:n])
	f.Add(seed[:63])
	f.Add(make([]byte, 32))
	f.Fuzz(func(t *testing.T, b []byte) {
		ranges, snsid, err := DecodeRangesFrom(nil, b)
		if err != nil {
			return
		}
		again := make([]byte, len(b))
		if n, err := EncodeRangesFrom(again, snsid, ranges); err != nil || n != len(b) || !bytes.Equal(again, b) {
			t.Fatalf("%x decodes to %v of %d, which encodes to %x (%v)", b, ranges, snsid, again, err)
		}
	})
}

func TestEncodeFromDoesNotAllocate(t *testing.T) {
	cmd := CopyCommand{DstLBA: 1, Ranges: slices.Repeat([]Range{{1, 1}}, MaxRanges)}
	var wire Command
	buf := make([]byte, MaxRanges*RangeSize)
	allocs := testing.AllocsPerRun(100, func() {
		if err := cmd.EncodeFrom(&wire, 2, 1, buf); err != nil {
			t.Fatal(err)
		}
		if err := checkIO(&wire); err != nil {
			t.Fatal(err)
		}
	})
	if allocs != 0 {
		t.Errorf("%v allocations a command", allocs)
	}
}

func TestCrossRangesRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ranges := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Range {
			return Range{rapid.Uint64().Draw(t, "lba"), rapid.Uint32Range(1, MaxRangeBlocks).Draw(t, "blocks")}
		}), 1, MaxRanges).Draw(t, "ranges")
		snsid := rapid.Uint32Range(1, 0xFFFFFFFE).Draw(t, "source")
		buf := bytes.Repeat([]byte{0xEE}, MaxRanges*RangeSize)
		n, err := EncodeRangesFrom(buf, snsid, ranges)
		if err != nil {
			t.Fatal(err)
		}
		back, from, err := DecodeRangesFrom(nil, buf[:n])
		if err != nil || from != snsid || !slices.Equal(back, ranges) {
			t.Fatalf("%v from %d, %v", back, from, err)
		}
	})
}
