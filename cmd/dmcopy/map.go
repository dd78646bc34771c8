package main

import (
	"bufio"
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dmcopy/dmcopy/remap"
)

// mapFlags are the flags of dmcopy map.
type mapFlags struct {
	offset, length sizeFlag
	op             choice[string]
	stack          stackFlag
	layers         layersFlag
}

// mapCmd is dmcopy map.
type mapCmd struct{ *app }

func (a mapCmd) command() *cobra.Command {
	f := mapFlags{layers: layersFlag{roots: true}, op: choice[string]{"read", []string{"read", "write"}}}
	cmd := &cobra.Command{
		Use:   "map DEV",
		Short: "Show where the blocks of a device are",
		Long: `Show where the blocks of a device are, on the disks below all layers.

Extents come in order and without gaps. Their kinds:
  data      the data is in one place
  replica   the data is in several places, all equal (a mirror)
  zero      the device reads as zeroes; there is no place
  cipher    the data is in one place, encrypted
  opaque    dmcopy cannot look below this layer; the reason says why
  error     reads and writes fail here

Offsets and lengths are bytes, with a suffix (K, M, G, T) if that is exact.

To read a thin volume's map, dmcopy takes its pool's metadata snapshot for a moment.`,
		Example: `  dmcopy map /dev/vg/home
  dmcopy map --offset 1G --length 64M --for write vg/home
  dmcopy map --json 254:3`,
		Args:              exactly("DEV"),
		ValidArgsFunction: completeDevices(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.run(cmd, args[0], &f)
		},
	}
	cmd.Flags().Var(&f.offset, "offset", "start at this offset")
	cmd.Flags().Var(&f.length, "length", "show this many bytes (default: up to the end)")
	cmd.Flags().Var(&f.op, "for", "show the places that a read or a write would use: a read of a mirror uses any leg, a write all")
	f.layers.add(cmd.Flags())
	f.stack.add(cmd.Flags())
	a.addJSON(cmd.Flags(), "the extents")
	return cmd
}

func (a mapCmd) run(cmd *cobra.Command, name string, f *mapFlags) error {
	ctx := cmd.Context()
	w, err := a.world(f.stack, f.layers)
	if err != nil {
		return err
	}
	defer w.close()
	st, devs, err := w.stack(ctx, []string{name})
	if err != nil {
		return err
	}
	node := st.Node(devs[0])
	r, err := f.sectors(node)
	if err != nil {
		return err
	}
	op := remap.Read
	if f.op.value == "write" {
		op = remap.Write
	}
	cur, err := st.Cursor(op, r)
	if err != nil {
		return err
	}
	if a.json {
		a.answered.Store(true)
		return a.writeJSON(ctx, st, node, cur)
	}
	return a.writeText(ctx, st, node, op, cur)
}

// sectors makes a range of sectors of the flags.
func (f *mapFlags) sectors(node *remap.Node) (remap.Range, error) {
	size, start := node.Size.Bytes(), f.offset.bytes
	length := f.length.bytes
	if !f.length.set {
		length = max(size-start, 0)
	}
	switch {
	case start%remap.SectorSize != 0 || length%remap.SectorSize != 0:
		return remap.Range{}, usage("--offset and --length have to be multiples of %d bytes", remap.SectorSize)
	case f.length.set && length == 0:
		return remap.Range{}, usage("--length 0 shows nothing: leave it out for everything up to the end")
	case start > 0 && start == size:
		return remap.Range{}, usage("%s has %d bytes: --offset %d is its end", shown(node.DisplayName()), size, start)
	case start > size || length > size-start:
		return remap.Range{}, usage("%s has %d bytes: --offset %d and --length %d reach beyond its end",
			node.DisplayName(), size, start, length)
	}
	return remap.Range{Dev: node.Dev, Start: remap.Sector(start / remap.SectorSize), Len: remap.Sector(length / remap.SectorSize)}, nil
}

// legJSON is a place of an extent in JSON.
type legJSON struct {
	Device   remap.Dev `json:"device"`
	Name     string    `json:"name"`
	Offset   int64     `json:"offset"`
	Readable bool      `json:"readable"`
}

// extentJSON is an extent in JSON.
type extentJSON struct {
	Offset int64        `json:"offset"`
	Length int64        `json:"length"`
	Kind   string       `json:"kind"`
	Reason remap.Reason `json:"reason"`
	Legs   []legJSON    `json:"legs"`
	Via    []string     `json:"via"`
}

func (a mapCmd) writeJSON(ctx context.Context, st *remap.Stack, node *remap.Node, cur *remap.Cursor) error {
	out := newObjectWriter(a.out, struct {
		Schema int       `json:"schema"`
		Device remap.Dev `json:"device"`
	}{1, node.Dev}, "extents")
	for cur.Next() {
		if ctx.Err() != nil {
			return interrupted(context.Cause(ctx))
		}
		e := cur.Extent()
		item := extentJSON{
			Offset: e.Start.Bytes(), Length: e.Len.Bytes(), Kind: e.Kind.String(), Reason: e.Reason,
			Legs: []legJSON{}, Via: e.Via.Names(),
		}
		for _, leg := range legs(e) {
			item.Legs = append(item.Legs, legJSON{leg.Dev, st.Node(leg.Dev).Name, leg.Start.Bytes(), leg.Readable})
		}
		if err := out.item(item); err != nil {
			return err
		}
	}
	return out.end(struct{}{})
}

// legs lists the places of an extent.
func legs(e *remap.Extent) []remap.Leg {
	switch e.Kind {
	case remap.Data, remap.Cipher:
		return []remap.Leg{e.Leg}
	case remap.Replica:
		return e.Legs
	}
	return nil
}

func (a mapCmd) writeText(ctx context.Context, st *remap.Stack, node *remap.Node, op remap.Op, cur *remap.Cursor) error {
	w := bufio.NewWriter(a.out)
	fmt.Fprintf(w, "%s (%s), %s, as it is %s:\n", line(node.DisplayName()), node.Dev, human(node.Size.Bytes()),
		map[remap.Op]string{remap.Read: "read", remap.Write: "written"}[op])
	const row = "%14s  %14s  %-7s  %-32s  %s\n"
	fmt.Fprintf(w, row, "OFFSET", "LENGTH", "KIND", "PLACE", "THROUGH")
	seen := make(map[remap.Reason]bool)
	var reasons []remap.Reason
	for cur.Next() {
		if ctx.Err() != nil {
			return interrupted(context.Cause(ctx))
		}
		e := cur.Extent()
		if e.Reason != "" && !seen[e.Reason] {
			seen[e.Reason] = true
			reasons = append(reasons, e.Reason)
		}
		through := strings.Join(e.Via.Names(), " > ")
		if through == "" {
			through = "-"
		}
		fmt.Fprintf(w, row, exact(e.Start.Bytes()), exact(e.Len.Bytes()), e.Kind, place(st, e), through)
	}
	for _, why := range reasons {
		if text := words(why); text != "" {
			fmt.Fprintf(w, "%s: %s\n", why, text)
		}
	}
	return w.Flush()
}

// place says where an extent lives.
func place(st *remap.Stack, e *remap.Extent) string {
	var places []string
	for _, leg := range legs(e) {
		text := st.Node(leg.Dev).Name + " @ " + exact(leg.Start.Bytes())
		if !leg.Readable {
			text += " (not readable)"
		}
		places = append(places, text)
	}
	if len(places) == 0 {
		places = []string{"-"}
	}
	if e.Reason != "" {
		return string(e.Reason)
	}
	return strings.Join(places, ", ")
}
