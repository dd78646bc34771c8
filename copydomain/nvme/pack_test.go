package nvme

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/dmcopy/dmcopy/copydomain/blocks"
)

// packed collects all commands, with ranges of their own.
func packed(t testing.TB, l Limits, pieces []blocks.Piece) []CopyCommand {
	t.Helper()
	p, err := NewPacker(l, pieces)
	if err != nil {
		t.Fatal(err)
	}
	var cmds []CopyCommand
	for c := range p.All() {
		cmds = append(cmds, CopyCommand{c.DstLBA, slices.Clone(c.Ranges)})
	}
	return cmds
}

func TestPackVectors(t *testing.T) {
	wide := Limits{RangeBlocks: 128, CommandBlocks: 256, Ranges: 4}
	for name, tc := range map[string]struct {
		limits Limits
		pieces []blocks.Piece
		want   []CopyCommand
	}{
		"nothing": {wide, nil, nil},
		"split at MSSRL and MCL": {wide, []blocks.Piece{piece(0, 1000, 300)}, []CopyCommand{
			{1000, []Range{{0, 128}, {128, 128}}},
			{1256, []Range{{256, 44}}},
		}},
		"range cut at MCL": {wide, []blocks.Piece{piece(0, 1000, 100), piece(500, 1100, 100), piece(900, 1200, 100)}, []CopyCommand{
			{1000, []Range{{0, 100}, {500, 100}, {900, 56}}},
			{1256, []Range{{956, 44}}},
		}},
		"neighbours on both sides are one": {wide, []blocks.Piece{piece(0, 1000, 10), piece(10, 1010, 20)}, []CopyCommand{
			{1000, []Range{{0, 30}}},
		}},
		"neighbours in the source only": {wide, []blocks.Piece{piece(0, 1000, 10), piece(10, 2000, 10)}, []CopyCommand{
			{1000, []Range{{0, 10}}},
			{2000, []Range{{10, 10}}},
		}},
		"full by number of ranges": {Limits{128, 1024, 2}, []blocks.Piece{piece(0, 1000, 8), piece(100, 1008, 8), piece(200, 1016, 8)}, []CopyCommand{
			{1000, []Range{{0, 8}, {100, 8}}},
			{1016, []Range{{200, 8}}},
		}},
		"a full list still takes what continues its last range": {Limits{128, 1024, 1}, []blocks.Piece{piece(0, 1000, 8), piece(8, 1008, 8)}, []CopyCommand{
			{1000, []Range{{0, 16}}},
		}},
		"NLB of 65536 blocks": {Limits{1 << 20, 1 << 20, 1}, []blocks.Piece{piece(0, 1<<33, 65536+1)}, []CopyCommand{
			{1 << 33, []Range{{0, 65536}}},
			{1<<33 + 65536, []Range{{65536, 1}}},
		}},
		"MSSRL of 65535": {Limits{65535, 1 << 20, 256}, []blocks.Piece{piece(1<<40, 1<<41, 65536)}, []CopyCommand{
			{1 << 41, []Range{{1 << 40, 65535}, {1<<40 + 65535, 1}}},
		}},
		"last LBA": {wide, []blocks.Piece{piece(0, ^uint64(0)-10, 10)}, []CopyCommand{
			{^uint64(0) - 10, []Range{{0, 10}}},
		}},
		"one block": {Limits{1, 1, 1}, []blocks.Piece{piece(5, 9, 2)}, []CopyCommand{{9, []Range{{5, 1}}}, {10, []Range{{6, 1}}}}},
	} {
		got := packed(t, tc.limits, tc.pieces)
		if fmt.Sprint(got) != fmt.Sprint(tc.want) {
			t.Errorf("%s:\n got %v\nwant %v", name, got, tc.want)
		}
	}
}

// At most 256 ranges go into a command, whatever the namespace says.
func TestPackCapsRanges(t *testing.T) {
	var pieces []blocks.Piece
	for i := range uint64(300) {
		pieces = append(pieces, blocks.Piece{SrcLBA: 10_000 - 2*i, DstLBA: 20_000 + i, Blocks: 1})
	}
	cmds := packed(t, Limits{128, 1 << 20, 60_000}, pieces)
	if len(cmds) != 2 || len(cmds[0].Ranges) != 256 || len(cmds[1].Ranges) != 44 {
		t.Errorf("%d commands", len(cmds))
	}
}

func TestPackRefuses(t *testing.T) {
	ok := Limits{1, 1, 1}
	for name, tc := range map[string]struct {
		limits Limits
		piece  blocks.Piece
	}{
		"MSSRL 0":           {Limits{0, 1, 1}, piece(1, 2, 1)},
		"MCL 0":             {Limits{1, 0, 1}, piece(1, 2, 1)},
		"no ranges":         {Limits{1, 1, 0}, piece(1, 2, 1)},
		"empty piece":       {ok, piece(1, 2, 0)},
		"source wraps":      {ok, piece(^uint64(0), 2, 1)},
		"destination wraps": {ok, piece(1, ^uint64(0)-1, 3)},
	} {
		if _, err := NewPacker(tc.limits, []blocks.Piece{tc.piece}); !errors.Is(err, blocks.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func drawLimits(t *rapid.T) Limits {
	return Limits{
		RangeBlocks:   rapid.Uint32Range(1, 12).Draw(t, "mssrl"),
		CommandBlocks: rapid.Uint32Range(1, 30).Draw(t, "mcl"),
		Ranges:        rapid.Uint16Range(1, 5).Draw(t, "ranges"),
	}
}

// drawPieces makes pieces in order of destination, whose sources lie in the first
// and destinations in the second half of 2×half blocks. Gaps and continued
// sources both occur often.
func drawPieces(t *rapid.T, half uint64) []blocks.Piece {
	var pieces []blocks.Piece
	dst := half + rapid.Uint64Range(0, 3).Draw(t, "start")
	var src uint64
	for range rapid.IntRange(0, 10).Draw(t, "pieces") {
		n := rapid.Uint64Range(1, 20).Draw(t, "blocks")
		if dst+n > 2*half {
			break
		}
		if src+n > half || rapid.Bool().Draw(t, "jump") {
			src = rapid.Uint64Range(0, half-n).Draw(t, "src")
		}
		pieces = append(pieces, piece(src, dst, n))
		src += n
		dst += n
		if rapid.IntRange(0, 2).Draw(t, "gap") == 0 {
			dst += rapid.Uint64Range(1, 5).Draw(t, "width")
		}
	}
	return pieces
}

// blocksOf maps each destination block to its source block.
func blocksOf(t interface{ Fatalf(string, ...any) }, pieces []blocks.Piece) map[uint64]uint64 {
	m := make(map[uint64]uint64)
	for _, p := range pieces {
		for i := range p.Blocks {
			if _, twice := m[p.DstLBA+i]; twice {
				t.Fatalf("block %d twice", p.DstLBA+i)
			}
			m[p.DstLBA+i] = p.SrcLBA + i
		}
	}
	return m
}

func piecesOf(cmds []CopyCommand) []blocks.Piece {
	var pieces []blocks.Piece
	for _, c := range cmds {
		pieces = append(pieces, c.pieces()...)
	}
	return pieces
}

func equalBlocks(a, b map[uint64]uint64) bool {
	if len(a) != len(b) {
		return false
	}
	for dst, src := range a {
		if other, ok := b[dst]; !ok || other != src {
			return false
		}
	}
	return true
}

func TestPackCoversOnceWithinLimits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l, pieces := drawLimits(t), drawPieces(t, 200)
		p, err := NewPacker(l, pieces)
		if err != nil {
			t.Fatal(err)
		}
		var cmds []CopyCommand
		for c := range p.All() {
			if len(c.Ranges) == 0 || len(c.Ranges) > int(l.Ranges) || c.Blocks() > uint64(l.CommandBlocks) {
				t.Fatalf("%+v breaks %v", c, l)
			}
			for _, r := range c.Ranges {
				if r.Blocks == 0 || r.Blocks > l.RangeBlocks {
					t.Fatalf("%+v breaks %v", c, l)
				}
			}
			cmds = append(cmds, CopyCommand{c.DstLBA, slices.Clone(c.Ranges)})
		}
		if !equalBlocks(blocksOf(t, piecesOf(cmds)), blocksOf(t, pieces)) {
			t.Fatalf("%v became %v", pieces, cmds)
		}
	})
}

// fewest is the smallest number of commands for pieces in order of destination,
// found by trying every cut.
func fewest(l Limits, pieces []blocks.Piece) int {
	var src []uint64 // of the blocks of one run
	total := 0
	for i, p := range pieces {
		if i > 0 && pieces[i-1].Destination().End != p.DstLBA {
			total += fewestInRun(l, src)
			src = src[:0]
		}
		for b := range p.Blocks {
			src = append(src, p.SrcLBA+b)
		}
	}
	return total + fewestInRun(l, src)
}

func fewestInRun(l Limits, src []uint64) int {
	best := make([]int, len(src)+1)
	for end := 1; end <= len(src); end++ {
		best[end] = end // one block a command always works
		for start := max(0, end-int(l.CommandBlocks)); start < end; start++ {
			if rangesFor(l, src[start:end]) <= int(l.Ranges) {
				best[end] = min(best[end], best[start]+1)
			}
		}
	}
	return best[len(src)]
}

func rangesFor(l Limits, src []uint64) int {
	n, length := 0, uint32(0)
	for i := range src {
		if i == 0 || src[i] != src[i-1]+1 || length == l.RangeBlocks {
			n, length = n+1, 0
		}
		length++
	}
	return n
}

func TestPackIsMinimal(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l, pieces := drawLimits(t), drawPieces(t, 60)
		p, err := NewPacker(l, pieces)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for range p.All() {
			n++
		}
		if want := fewest(l, pieces); n != want {
			t.Fatalf("%d commands for %v within %v, %d are enough", n, pieces, l, want)
		}
	})
}

func TestSortedPackDoesNotDependOnOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l, pieces := drawLimits(t), drawPieces(t, 200)
		shuffled := rapid.Permutation(pieces).Draw(t, "order")
		shuffled = blocks.SortByDestination(shuffled)
		a, err := NewPacker(l, pieces)
		if err != nil {
			t.Fatal(err)
		}
		b, err := NewPacker(l, shuffled)
		if err != nil {
			t.Fatal(err)
		}
		var ca, cb CopyCommand
		for a.Next(&ca) {
			if !b.Next(&cb) || fmt.Sprint(ca) != fmt.Sprint(cb) {
				t.Fatalf("%v and %v", ca, cb)
			}
		}
		if b.Next(&cb) {
			t.Fatalf("%v is left over", cb)
		}
	})
}

func TestPackerRest(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l, pieces := drawLimits(t), drawPieces(t, 200)
		p, err := NewPacker(l, pieces)
		if err != nil {
			t.Fatal(err)
		}
		var cmds []CopyCommand
		for range rapid.IntRange(0, 6).Draw(t, "commands") {
			var c CopyCommand
			if p.Next(&c) {
				cmds = append(cmds, c)
			}
		}
		all := p.Rest(piecesOf(cmds))
		if !equalBlocks(blocksOf(t, all), blocksOf(t, pieces)) {
			t.Fatalf("%v became %v", pieces, all)
		}
	})
}

// striped makes the pieces of one leaf when a volume striped over legs in chunks
// of from blocks is copied to one in chunks of to blocks: short, and interleaved
// in the destination.
func striped(n int, from, to uint64) []blocks.Piece {
	chunk := min(from, to)
	pieces := make([]blocks.Piece, 0, n)
	for i := range uint64(n) {
		at := i * chunk
		pieces = append(pieces, blocks.Piece{SrcLBA: at ^ from, DstLBA: 1<<32 + at, Blocks: chunk})
	}
	return pieces
}

func BenchmarkPack(b *testing.B) {
	for name, limits := range map[string]Limits{
		"qemu-default": {128, 128, 128},
		"rig":          {4096, 16384, 128},
	} {
		b.Run(name, func(b *testing.B) {
			pieces := striped(100_000, 128, 256)
			var cmd CopyCommand
			var ranges, cmds int
			b.ReportAllocs()
			for b.Loop() {
				p, err := NewPacker(limits, pieces)
				if err != nil {
					b.Fatal(err)
				}
				for p.Next(&cmd) {
					ranges += len(cmd.Ranges)
					cmds++
				}
			}
			b.ReportMetric(float64(ranges)/b.Elapsed().Seconds(), "ranges/s")
			b.ReportMetric(float64(cmds)/float64(b.N), "commands/op")
		})
	}
}

func BenchmarkSortByDestination(b *testing.B) {
	sorted := striped(100_000, 128, 256)
	pieces := make([]blocks.Piece, len(sorted))
	b.ReportAllocs()
	for b.Loop() {
		for i, p := range sorted { // all of leg 0, then all of leg 1 …
			pieces[(i%4)*(len(sorted)/4)+i/4] = p
		}
		blocks.SortByDestination(pieces)
	}
}
