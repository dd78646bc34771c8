package nvme

import (
	"bytes"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/dmcopy/dmcopy/copydomain/blocks"
)

// golden removes the blanks of a hex dump.
func golden(t testing.TB, dump string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(dump), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The numbers of test_copy in libnvme's tests/ioctl/misc.c (NLB 0xa, 0xb, 0xc;
// SDLBA 0xfffff), with the protection fields zero as format 0 without protection
// information has them.
func TestEncodeGoldenLibnvme(t *testing.T) {
	cmd := CopyCommand{DstLBA: 0xfffff, Ranges: []Range{
		{SrcLBA: 0x1000, Blocks: 11},
		{SrcLBA: 0x20000000, Blocks: 12},
		{SrcLBA: 0x300040000000, Blocks: 13},
	}}
	want := golden(t, `
		0000000000000000 0010000000000000 0a00000000000000 0000000000000000
		0000000000000000 0000002000000000 0b00000000000000 0000000000000000
		0000000000000000 0000004000300000 0c00000000000000 0000000000000000`)
	var wire Command
	buf := bytes.Repeat([]byte{0xEE}, MaxRanges*RangeSize)
	if err := cmd.Encode(&wire, 0x12345678, buf); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(wire.Data, want) {
		t.Errorf("descriptors\n%x, want\n%x", wire.Data, want)
	}
	wire.Data = nil
	head := Command{Opcode: 0x19, NSID: 0x12345678, CDW10: 0xfffff, CDW12: 2}
	if wire.Opcode != head.Opcode || wire.NSID != head.NSID || wire.CDW10 != head.CDW10 || wire.CDW11 != 0 ||
		wire.CDW12 != head.CDW12 || wire.CDW2|wire.CDW3|wire.CDW13|wire.CDW14|wire.CDW15 != 0 {
		t.Errorf("command %+v, want %+v", wire, head)
	}
}

// By hand: the edges of the 0-based fields and both halves of a 64 bit LBA.
func TestEncodeGoldenEdges(t *testing.T) {
	ranges := make([]Range, 256)
	for i := range ranges {
		ranges[i] = Range{SrcLBA: uint64(i), Blocks: 1}
	}
	ranges[0] = Range{SrcLBA: 0x8877665544332211, Blocks: 65535}
	ranges[255] = Range{SrcLBA: 0xFFFFFFFF_00000000, Blocks: 65536}
	var wire Command
	cmd := CopyCommand{DstLBA: 0xFEDCBA98_76543210, Ranges: ranges}
	if err := cmd.Encode(&wire, 1, make([]byte, 8192)); err != nil {
		t.Fatal(err)
	}
	if len(wire.Data) != 8192 || wire.CDW12 != 0xFF || wire.CDW10 != 0x76543210 || wire.CDW11 != 0xFEDCBA98 {
		t.Errorf("%d bytes, CDW10 %#x CDW11 %#x CDW12 %#x", len(wire.Data), wire.CDW10, wire.CDW11, wire.CDW12)
	}
	for i, want := range map[int]string{
		0:   "0000000000000000 1122334455667788 feff000000000000 0000000000000000",
		1:   "0000000000000000 0100000000000000 0000000000000000 0000000000000000",
		255: "0000000000000000 00000000ffffffff ffff000000000000 0000000000000000",
	} {
		if got := wire.Data[i*32 : i*32+32]; !bytes.Equal(got, golden(t, want)) {
			t.Errorf("range %d: %x, want %s", i, got, want)
		}
	}
	if err := checkCopy(&wire); err != nil {
		t.Errorf("checkCopy refuses what Encode made: %v", err)
	}
}

func TestEncodeRefuses(t *testing.T) {
	for name, tc := range map[string]struct {
		ranges []Range
		buf    int
		want   error
	}{
		"none":         {nil, 8192, blocks.ErrInvalid},
		"257 ranges":   {make([]Range, 257), 9000, blocks.ErrInvalid},
		"no blocks":    {[]Range{{1, 0}}, 32, blocks.ErrInvalid},
		"65537 blocks": {[]Range{{1, 65537}}, 32, blocks.ErrInvalid},
		"short buffer": {[]Range{{1, 1}}, 31, blocks.ErrShort},
	} {
		if _, err := EncodeRanges(make([]byte, tc.buf), tc.ranges); !errors.Is(err, tc.want) {
			t.Errorf("%s: %v, want %v", name, err, tc.want)
		}
	}
}

func TestCheckCopyRefuses(t *testing.T) {
	for name, spoil := range map[string]func(*Command){
		"nsid 0":            func(c *Command) { c.NSID = 0 },
		"broadcast nsid":    func(c *Command) { c.NSID = 0xFFFFFFFF },
		"format 2":          func(c *Command) { c.CDW12 |= 2 << 8 },
		"a source":          func(c *Command) { c.Data[0] = 2 },
		"fua":               func(c *Command) { c.CDW12 |= 1 << 30 },
		"reference tag":     func(c *Command) { c.CDW14 = 1 },
		"one range more":    func(c *Command) { c.CDW12++ },
		"descriptor cut":    func(c *Command) { c.Data = c.Data[:31] },
		"no descriptors":    func(c *Command) { c.Data = nil },
		"directive":         func(c *Command) { c.CDW13 = 1 << 16 },
		"storage tag upper": func(c *Command) { c.CDW3 = 1 },
	} {
		var wire Command
		cmd := CopyCommand{DstLBA: 9, Ranges: []Range{{1, 1}}}
		if err := cmd.Encode(&wire, 1, make([]byte, 64)); err != nil {
			t.Fatal(err)
		}
		spoil(&wire)
		if err := checkIO(&wire); err == nil {
			t.Errorf("%s: not refused", name)
		}
	}
}

// sendable is a command of each opcode that may leave, in the form that it has to
// have.
func sendable(op Opcode) Command {
	c := Command{Opcode: op, NSID: 1, Data: make([]byte, 32)}
	if op == OpGetFeatures || op == OpSetFeatures {
		c = Command{Opcode: op, CDW10: 0x16, Data: make([]byte, 512)}
	}
	return c
}

func TestOnlyListedOpcodesLeave(t *testing.T) {
	for _, maySet := range []bool{false, true} {
		admin := map[Opcode]bool{OpIdentify: true, OpGetLogPage: true, OpGetFeatures: true, OpSetFeatures: maySet}
		for op := range 256 {
			c := sendable(Opcode(op))
			if got := checkAdmin(&c, maySet) == nil; got != admin[Opcode(op)] {
				t.Errorf("admin opcode %#x allowed: %v", op, got)
			}
		}
	}
	for op := range 256 {
		c := Command{Opcode: Opcode(op), NSID: 1, Data: make([]byte, 32)}
		flush := c
		flush.Data = nil
		if got := checkIO(&c) == nil || checkIO(&flush) == nil; got != (c.Opcode == OpCopy || c.Opcode == OpFlush) {
			t.Errorf("I/O opcode %#x allowed: %v", op, got)
		}
	}
}

// Of the features of a controller only Host Behavior Support is looked at or set,
// and never saved.
func TestOnlyHostBehaviorLeaves(t *testing.T) {
	for _, op := range []Opcode{OpGetFeatures, OpSetFeatures} {
		for fid := range 256 {
			c := sendable(op)
			c.CDW10 = uint32(fid)
			if got := checkAdmin(&c, true) == nil; got != (fid == 0x16) {
				t.Errorf("opcode %#x: feature %#x allowed: %v", op, fid, got)
			}
		}
		for name, spoil := range map[string]func(*Command){
			"saved":          func(c *Command) { c.CDW10 |= 1 << 31 },
			"default value":  func(c *Command) { c.CDW10 |= 1 << 8 },
			"of a namespace": func(c *Command) { c.NSID = 1 },
			"short":          func(c *Command) { c.Data = c.Data[:511] },
			"empty":          func(c *Command) { c.Data = nil },
			"more":           func(c *Command) { c.CDW11 = 1 },
			"a UUID index":   func(c *Command) { c.CDW14 = 1 },
		} {
			c := sendable(op)
			spoil(&c)
			if err := checkAdmin(&c, true); err == nil {
				t.Errorf("opcode %#x, %s: not refused", op, name)
			}
		}
	}
}

func TestRangesRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ranges := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Range {
			return Range{rapid.Uint64().Draw(t, "lba"), rapid.Uint32Range(1, MaxRangeBlocks).Draw(t, "blocks")}
		}), 1, MaxRanges).Draw(t, "ranges")
		buf := bytes.Repeat([]byte{0xEE}, MaxRanges*RangeSize)
		n, err := EncodeRanges(buf, ranges)
		if err != nil {
			t.Fatal(err)
		}
		back, err := DecodeRanges(nil, buf[:n])
		if err != nil || !slices.Equal(back, ranges) {
			t.Fatalf("%v, %v", back, err)
		}
		for _, b := range buf[n:] {
			if b != 0xEE {
				t.Fatal("wrote behind the list")
			}
		}
	})
}

func FuzzDecodeRanges(f *testing.F) {
	seed := make([]byte, 96)
	n, err := EncodeRanges(seed, []Range{{1, 1}, {1 << 40, 65536}, {7, 128}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed[:n])
	f.Add(seed[:31])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		ranges, err := DecodeRanges(nil, b)
		if err != nil {
			return
		}
		again := make([]byte, len(b))
		if n, err := EncodeRanges(again, ranges); err != nil || n != len(b) || !bytes.Equal(again, b) {
			t.Fatalf("%x decodes to %v, which encodes to %x (%v)", b, ranges, again, err)
		}
	})
}

func TestEncodeDoesNotAllocate(t *testing.T) {
	cmd := CopyCommand{DstLBA: 1, Ranges: slices.Repeat([]Range{{1, 1}}, MaxRanges)}
	var wire Command
	buf := make([]byte, MaxRanges*RangeSize)
	allocs := testing.AllocsPerRun(100, func() {
		if err := cmd.Encode(&wire, 1, buf); err != nil {
			t.Fatal(err)
		}
	})
	if allocs != 0 {
		t.Errorf("%v allocations a command", allocs)
	}
}

func BenchmarkEncode(b *testing.B) {
	cmd := CopyCommand{DstLBA: 1, Ranges: slices.Repeat([]Range{{1 << 33, 128}}, MaxRanges)}
	var wire Command
	buf := make([]byte, MaxRanges*RangeSize)
	b.ReportAllocs()
	for b.Loop() {
		if err := cmd.Encode(&wire, 1, buf); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)*MaxRanges/b.Elapsed().Seconds(), "ranges/s")
}
