package nvme

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/dmcopy/dmcopy/copydomain/blocks"
)

// A log-structured filesystem that collects its garbage copies thousands of small
// ranges from all over the disk to one run.

// gathered makes n pieces of 1 to most blocks whose sources never touch each
// other, and whose destinations are one run.
func gathered(n int, least, most uint64) []blocks.Piece {
	random := rand.New(rand.NewPCG(1, 2))
	pieces := make([]blocks.Piece, n)
	dst := uint64(1 << 32)
	for i, at := range random.Perm(n) {
		n := least + random.Uint64N(most-least+1)
		pieces[i] = blocks.Piece{SrcLBA: uint64(at) * (most + 1), DstLBA: dst, Blocks: n}
		dst += n
	}
	return pieces
}

// fewestGathered is the smallest number of commands for such pieces of at most
// MSSRL blocks: it fills them from the end of the run, while the Packer begins at
// its start.
func fewestGathered(l Limits, pieces []blocks.Piece) int {
	n, ranges, blocks := 0, 0, uint64(0)
	for i := len(pieces) - 1; i >= 0; i-- {
		for left := pieces[i].Blocks; left > 0; {
			if ranges == int(l.Ranges) || blocks == uint64(l.CommandBlocks) || n == 0 {
				n, ranges, blocks = n+1, 0, 0
			}
			part := min(left, uint64(l.CommandBlocks)-blocks)
			ranges, blocks, left = ranges+1, blocks+part, left-part
		}
	}
	return n
}

// bound is what no packing can go below: so many ranges, and so many blocks.
func bound(l Limits, pieces []blocks.Piece) int {
	var blocks uint64
	for _, p := range pieces {
		blocks += p.Blocks
	}
	ceil := func(a, b uint64) int { return int((a + b - 1) / b) }
	return max(ceil(uint64(len(pieces)), uint64(l.Ranges)), ceil(blocks, uint64(l.CommandBlocks)))
}

func TestGatherInFewestCommands(t *testing.T) {
	const n = 10_000
	for name, tc := range map[string]struct {
		limits      Limits
		least, most uint64 // blocks of a range
		commands    int    // 0: not computed by hand
	}{
		// 4 KiB are 8 blocks of 512 bytes. 128 of them are 1024 blocks.
		"limited by ranges":             {Limits{128, 16384, 128}, 8, 8, 79},
		"limited by blocks":             {Limits{128, 128, 128}, 8, 8, 625},
		"both alike":                    {Limits{8, 1024, 128}, 8, 8, 79},
		"all ranges that there are":     {Limits{2048, 16384, 256}, 8, 8, 40},
		"blocks of 4 KiB":               {Limits{256, 2048, 128}, 1, 1, 79},
		"one range a command":           {Limits{128, 128, 1}, 8, 8, n},
		"commands that cut ranges":      {Limits{128, 100, 128}, 8, 8, 800},
		"ranges of all sizes":           {Limits{128, 4096, 128}, 1, 128, 0},
		"ranges of all sizes, cut":      {Limits{128, 1000, 16}, 1, 128, 0},
		"ranges of all sizes, few":      {Limits{128, 1000, 3}, 1, 128, 0},
		"ranges of all sizes, by count": {Limits{128, 1 << 20, 200}, 1, 128, 50},
	} {
		pieces := gathered(n, tc.least, tc.most)
		cmds, ranges := 0, 0
		p, err := NewPacker(tc.limits, pieces)
		if err != nil {
			t.Fatal(err)
		}
		for c := range p.All() {
			cmds++
			ranges += len(c.Ranges)
		}
		want := fewestGathered(tc.limits, pieces)
		if cmds != want || tc.commands != 0 && cmds != tc.commands || cmds < bound(tc.limits, pieces) {
			t.Errorf("%s: %d commands; %d from the end, %d by hand, never below %d", name, cmds, want, tc.commands, bound(tc.limits, pieces))
		}
		if tc.commands > 0 && tc.commands != bound(tc.limits, pieces) {
			t.Errorf("%s: %d by hand is not what the limits say: %d", name, tc.commands, bound(tc.limits, pieces))
		}
		t.Logf("%s: %d commands, %.1f %% of their ranges used", name, cmds, 100*float64(ranges)/float64(cmds)/float64(tc.limits.Ranges))
	}
}

// Packing and encoding take no memory once the first command is made.
func TestGatherDoesNotAllocate(t *testing.T) {
	const runs = 10
	pieces := gathered(10_000, 8, 8)
	packers := make([]*Packer, runs+2) // AllocsPerRun has one more run
	for i := range packers {
		var err error
		if packers[i], err = NewPacker(Limits{128, 16384, 128}, pieces); err != nil {
			t.Fatal(err)
		}
	}
	var cmd CopyCommand
	var wire Command
	buf := make([]byte, MaxRanges*RangeSize)
	gather := func() {
		p := packers[0]
		packers = packers[1:]
		for p.Next(&cmd) {
			if err := cmd.EncodeFrom(&wire, 2, 1, buf); err != nil {
				t.Fatal(err)
			}
		}
	}
	gather()
	if allocs := testing.AllocsPerRun(runs, gather); allocs != 0 {
		t.Errorf("%v allocations", allocs)
	}
}

// BenchmarkGather sorts, packs and encodes.
func BenchmarkGather(b *testing.B) {
	for _, n := range []int{10_000, 1_000_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			all := gathered(n, 8, 8)
			shuffled := make([]blocks.Piece, n)
			for i, at := range rand.New(rand.NewPCG(3, 4)).Perm(n) {
				shuffled[i] = all[at]
			}
			pieces := make([]blocks.Piece, n)
			var cmd CopyCommand
			var wire Command
			buf := make([]byte, MaxRanges*RangeSize)
			b.ReportAllocs()
			for b.Loop() {
				copy(pieces, shuffled)
				p, err := NewPacker(Limits{128, 16384, 128}, blocks.SortByDestination(pieces))
				if err != nil {
					b.Fatal(err)
				}
				for p.Next(&cmd) {
					if err := cmd.EncodeFrom(&wire, 2, 1, buf); err != nil {
						b.Fatal(err)
					}
				}
			}
			b.ReportMetric(float64(b.N)*float64(n)/b.Elapsed().Seconds(), "ranges/s")
		})
	}
}
