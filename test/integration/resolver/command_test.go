package resolver

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/dmcopy/dmcopy/remap"
	"github.com/dmcopy/dmcopy/test/vm"
)

// mapJSON is what "dmcopy map --json" prints.
type mapJSON struct {
	Extents []struct {
		Offset, Length int64
		Kind           string
		Reason         remap.Reason
		Legs           []struct {
			Device   remap.Dev
			Offset   int64
			Readable bool
		}
		Via []string
	}
}

// command compares a part of the map with what the program prints.
func (c *check) command() {
	c.Helper()
	op := pick(c.bench, remap.Read, remap.Write)
	start := remap.Sector(c.Int64N(int64(c.node.Size)))
	part := remap.Range{Dev: c.dev, Start: start, Len: min(2000, c.node.Size-start)}
	args := []string{"map", "--json", "--for", op.String(), "--offset", fmt.Sprint(part.Start.Bytes()), "--length", fmt.Sprint(part.Len.Bytes())}
	if c.trust.Verity {
		args = append(args, "--trust-verity")
	}
	if c.trust.Integrity {
		args = append(args, "--trust-integrity")
	}
	text := vm.Run(c, "dmcopy", append(args, c.path)...)
	var got mapJSON
	if err := json.Unmarshal([]byte(text), &got); err != nil {
		c.Fatal(err)
	}
	want := c.resolve(op, part)
	if len(got.Extents) != len(want) {
		c.complain("%s: the program prints %d extents of %+v, want %d", op, len(got.Extents), part, len(want))
		return
	}
	for i := range want {
		e, g := &want[i], &got.Extents[i]
		var printed []remap.Leg
		for _, leg := range g.Legs {
			printed = append(printed, remap.Leg{Dev: leg.Device, Start: remap.Sector(leg.Offset / remap.SectorSize), Readable: leg.Readable})
		}
		if g.Offset != e.Start.Bytes() || g.Length != e.Len.Bytes() || g.Kind != e.Kind.String() || g.Reason != e.Reason ||
			!slices.Equal(printed, places(e, e.Start)) || !slices.Equal(g.Via, e.Via.Names()) {
			c.complain("%s: the program prints %+v, want %+v", op, *g, *e)
		}
	}
}
