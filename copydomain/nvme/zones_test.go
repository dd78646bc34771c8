package nvme

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/dmcopy/dmcopy/copydomain/blocks"
)

// zoneRig is a copier on a zoned namespace: twenty zones of 20 blocks, of which 17 can be
// used.
type zoneRig struct {
	rig
	zones  *LoopbackZones
	device *Device
}

const (
	zonesInRig  = 20
	rigZone     = 20
	rigCapacity = 17
)

func newZoneRig(t testing.TB, l Limits) *zoneRig {
	t.Helper()
	r := &zoneRig{zones: &LoopbackZones{Size: rigZone, Capacity: rigCapacity}}
	r.mem = stamped(zonesInRig * rigZone)
	r.before = bytes.Clone(r.mem)
	r.loop = NewMemoryLoopback(nil, testBlock, l)
	r.loop.Attach(LoopbackNamespace{
		NSID: 1, Namespace: Namespace{Blocks: zonesInRig * rigZone, BlockSize: testBlock, Limits: l}, Zones: r.zones, Backing: blocks.Memory(r.mem),
	})
	d, err := Probe(t.Context(), r.loop, 1)
	if err != nil {
		t.Fatal(err)
	}
	if d.ZoneBlocks != rigZone {
		t.Fatalf("zones of %d blocks", d.ZoneBlocks)
	}
	r.device = d
	if r.Copier, err = NewCopier(d, blocks.Options{InFlight: 4}); err != nil {
		t.Fatal(err)
	}
	return r
}

// describe lists pieces that were not copied with their reasons.
func describe(res *blocks.Result) string {
	var s string
	for _, f := range res.Redo {
		s += fmt.Sprintf("%v %s; ", f.Piece, f.Reason)
	}
	return s
}

func TestZonedCopy(t *testing.T) {
	limits := Limits{RangeBlocks: 8, CommandBlocks: 64, Ranges: 8}
	for name, tc := range map[string]struct {
		input []blocks.Piece
		redo  string
		moved string // how far zones 5 and 6 are written
	}{
		"a zone":                     {[]blocks.Piece{piece(0, 100, 17)}, "", "17 0"},
		"to the pointer":             {[]blocks.Piece{piece(0, 144, 5)}, "", "0 0"},
		"behind the pointer":         {[]blocks.Piece{piece(0, 102, 5)}, "0+5->102 zone:write-pointer; ", "0 0"},
		"before the pointer":         {[]blocks.Piece{piece(0, 143, 5)}, "0+5->143 zone:write-pointer; ", "0 0"},
		"over the capacity":          {[]blocks.Piece{piece(0, 100, 20)}, "0+20->100 zone:write-pointer; ", "0 0"},
		"in pieces":                  {[]blocks.Piece{piece(0, 110, 7), piece(30, 100, 5), piece(8, 105, 5)}, "", "17 0"},
		"with a gap":                 {[]blocks.Piece{piece(0, 100, 5), piece(5, 106, 5), piece(5, 120, 5)}, "5+5->106 zone:write-pointer; ", "5 5"},
		"full":                       {[]blocks.Piece{piece(0, 37, 3)}, "0+3->37 zone:write-pointer; ", "0 0"},
		"from the unwritten":         {[]blocks.Piece{piece(46, 100, 1)}, "46+1->100 zone:unwritten; ", "0 0"},
		"beyond what is written":     {[]blocks.Piece{piece(40, 100, 10), piece(0, 120, 3)}, "44+6->104 zone:unwritten; ", "4 3"},
		"what comes behind that":     {[]blocks.Piece{piece(40, 100, 10), piece(0, 110, 3)}, "44+6->104 zone:unwritten; 0+3->110 zone:write-pointer; ", "4 0"},
		"from the end of a zone":     {[]blocks.Piece{piece(10, 100, 14)}, "17+3->107 zone:unwritten; 20+4->110 zone:write-pointer; ", "7 0"},
		"from offline":               {[]blocks.Piece{piece(60, 100, 4)}, "60+4->100 zone:unwritten; ", "0 0"},
		"to read only":               {[]blocks.Piece{piece(0, 80, 4)}, "0+4->80 zone:write-pointer; ", "0 0"},
		"of each end only in a zone": {[]blocks.Piece{piece(15, 100, 2), piece(20, 102, 15)}, "", "17 0"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newZoneRig(t, limits)
			r.zones.Write(0, 17)
			r.zones.Write(1, 17)
			r.zones.Write(2, 4)
			r.zones.Write(7, 4)
			r.zones.Break(3, ZoneOffline)
			r.zones.Break(4, ZoneReadOnly)
			res, err := r.Copy(t.Context(), tc.input)
			if err != nil {
				t.Fatal(err)
			}
			if err := r.account(tc.input, res); err != nil {
				t.Error(err)
			}
			if got := describe(res); got != tc.redo {
				t.Errorf("redo %q, want %q", got, tc.redo)
			}
			for _, f := range res.Redo {
				if f.Action != blocks.ActionEmulate || !f.Untouched || !errors.Is(f.Err, ErrZone) {
					t.Errorf("%+v", f)
				}
			}
			if got := fmt.Sprint(r.zones.Written(5), r.zones.Written(6)); got != tc.moved {
				t.Errorf("written: %s, want %s", got, tc.moved)
			}
		})
	}
}

// TestZonedFailure: after a command that fails in the middle nothing more is sent, and
// nothing is said to be untouched that the pointer has passed.
func TestZonedFailure(t *testing.T) {
	whole, single := Limits{4, 17, 5}, Limits{4, 4, 1}
	for name, tc := range map[string]struct {
		limits  Limits
		fails   int // this command
		fault   Fault
		written uint64
		done    string
	}{
		"in the middle of a range": {whole, 0, Fault{Status: StatusUnrecoveredRead, At: 2, Part: 2}, 10, "[0+8->100]"},
		"between ranges":           {whole, 0, Fault{Status: StatusWriteFault, At: 2}, 8, "[0+8->100]"},
		"with junk":                {whole, 0, Fault{Status: StatusWriteFault, At: 2, Junk: true}, 12, "[0+8->100]"},
		"all of a command":         {single, 1, Fault{Status: StatusWriteFault}, 4, "[0+4->100]"},
		"somebody else wrote":      {single, 1, Fault{Status: 0x1BC}, 4, "[0+4->100]"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newZoneRig(t, tc.limits)
			r.zones.Write(0, 17)
			r.zones.Write(1, 17)
			r.loop.SetFault(func(n int, c *Command) Fault {
				if n > tc.fails {
					t.Error("a command follows the one that failed")
				}
				if n < tc.fails {
					return Fault{}
				}
				return tc.fault
			})
			input := []blocks.Piece{piece(0, 100, 17), piece(20, 120, 17)}
			res, err := r.Copy(t.Context(), input)
			if err != nil {
				t.Fatal(err)
			}
			if err := r.account(input, res); err != nil {
				t.Error(err)
			}
			if got := r.zones.Written(5); got != tc.written || r.zones.Written(6) != 0 {
				t.Errorf("written %d, want %d", got, tc.written)
			}
			if fmt.Sprint(res.Done) != tc.done || len(res.Redo) == 0 || res.Redo[0].Action != blocks.ActionBackOff || res.Redo[0].Untouched {
				t.Errorf("%+v", res)
			}
		})
	}
}

// Whatever zones there are, a command that is sent succeeds, and the pointers stand
// where the bytes say.
func TestZonedProperty(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		r := newZoneRig(t, drawLimits(rt))
		written := make([]uint64, zonesInRig)
		for i := range uint64(zonesInRig) {
			written[i] = rapid.Uint64Range(0, rigCapacity).Draw(rt, "written")
			if i < zonesInRig/2 && rapid.Bool().Draw(rt, "full") {
				written[i] = rigCapacity
			}
			r.zones.Write(i, written[i])
		}
		var input []blocks.Piece
		for i := uint64(zonesInRig / 2); i < zonesInRig; i++ {
			at := i*rigZone + written[i] + rapid.Uint64Range(0, 1).Draw(rt, "gap")
			for n := rapid.IntRange(0, 3).Draw(rt, "pieces"); n > 0 && at < i*rigZone+rigZone; n-- {
				p := piece(rapid.Uint64Range(0, zonesInRig/2*rigZone-rigZone).Draw(rt, "source"), at, rapid.Uint64Range(1, rigZone).Draw(rt, "blocks"))
				p.Blocks = min(p.Blocks, i*rigZone+rigZone-at)
				at += p.Blocks
				input = append(input, p)
			}
		}
		res, err := r.Copy(t.Context(), input)
		if err != nil {
			rt.Fatal(err)
		}
		if err := r.account(input, res); err != nil {
			rt.Fatal(err)
		}
		for _, f := range res.Redo {
			if f.Reason != reasonPointer && f.Reason != reasonUnwritten || !f.Untouched {
				rt.Fatalf("%+v", f)
			}
		}
		moved := make([]uint64, zonesInRig)
		copy(moved, written)
		for _, p := range res.Done {
			for i := range p.Blocks {
				src, dst := p.SrcLBA+i, p.DstLBA+i
				if src%rigZone >= written[src/rigZone] || dst%rigZone != moved[dst/rigZone] {
					rt.Fatalf("block %d to %d", src, dst)
				}
				moved[dst/rigZone]++
			}
		}
		for i := range uint64(zonesInRig) {
			if got := r.zones.Written(i); got != moved[i] {
				rt.Fatalf("zone %d is written up to %d instead of %d", i, got, moved[i])
			}
		}
	})
}

// A namespace that does not tell of its zones is left alone.
func TestZonesUnknown(t *testing.T) {
	r := newZoneRig(t, Limits{8, 8, 8})
	r.device.ZoneBlocks++ // other than what the report says
	input := []blocks.Piece{piece(0, 105, 3)}
	res, err := r.Copy(t.Context(), input)
	if err != nil {
		t.Fatal(err)
	}
	if describe(res) != "0+3->105 zone:unknown; " || res.Commands != 0 || !errors.Is(res.Redo[0].Err, blocks.ErrInvalid) {
		t.Errorf("%+v", res)
	}
}

func TestZoneReceiveIsChecked(t *testing.T) {
	good := Command{Opcode: OpZoneReceive, NSID: 1, CDW12: 31, CDW13: zonePartial, Data: make([]byte, 128)}
	if err := checkIO(&good); err != nil {
		t.Error(err)
	}
	for name, change := range map[string]func(*Command){
		"another action": func(c *Command) { c.CDW13 |= 1 },
		"some zones":     func(c *Command) { c.CDW13 |= 1 << 8 },
		"length":         func(c *Command) { c.CDW12++ },
		"no room":        func(c *Command) { c.Data, c.CDW12 = c.Data[:60], 14 },
		"reserved":       func(c *Command) { c.CDW14 = 1 },
	} {
		c := good
		change(&c)
		if err := checkIO(&c); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestParseZoneBlocks(t *testing.T) {
	b := (&LoopbackZones{Size: 1 << 16}).identify()
	if n, err := ParseZoneBlocks(b, 0); err != nil || n != 1<<16 {
		t.Errorf("%d, %v", n, err)
	}
	for _, format := range []uint8{1, 64} {
		if n, err := ParseZoneBlocks(b, format); err == nil {
			t.Errorf("format %d: zones of %d", format, n)
		}
	}
	if _, err := ParseZoneBlocks(b[:100], 0); !errors.Is(err, blocks.ErrShort) {
		t.Error(err)
	}
}

func FuzzParseZones(f *testing.F) {
	z := &LoopbackZones{Size: 64, Capacity: 50}
	z.Write(1, 50)
	z.Write(2, 7)
	z.Break(3, ZoneOffline)
	b := make([]byte, zoneHeaderSize+5*zoneSize)
	z.report(b, 0, 4*64)
	f.Add(b, uint64(0), uint64(64))
	f.Add(b, uint64(64), uint64(64))
	f.Add(b[:200], uint64(0), uint64(64))
	f.Add([]byte("short"), uint64(0), uint64(1))
	f.Fuzz(func(t *testing.T, b []byte, start, size uint64) {
		zones, err := parseZones(b, start, size)
		for i, z := range zones {
			if z.Start != start+uint64(i)*size || z.Capacity > size || z.Pointer < z.Start || z.Pointer > z.Start+z.Capacity || z.readable() > z.Pointer {
				t.Fatalf("%+v", z)
			}
		}
		if err != nil && zones != nil {
			t.Fatalf("%v, %v", zones, err)
		}
	})
}
