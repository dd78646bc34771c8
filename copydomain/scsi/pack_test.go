package scsi

import (
	"errors"
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/dmcopy/dmcopy/copydomain/blocks"
)

func packed(t testing.TB, l Limits, pieces []blocks.Piece) [][]blocks.Piece {
	t.Helper()
	p, err := NewPacker(l, pieces)
	if err != nil {
		t.Fatal(err)
	}
	var cmds [][]blocks.Piece
	for c := p.Next(nil); len(c) > 0; c = p.Next(nil) {
		cmds = append(cmds, c)
	}
	return cmds
}

func TestPackVectors(t *testing.T) {
	for name, tc := range map[string]struct {
		limits Limits
		pieces []blocks.Piece
		want   [][]blocks.Piece
	}{
		"nothing":                 {Limits{8, 8, 1, 1}, nil, nil},
		"one segment a command":   {Limits{8, 8, 1, 1}, []blocks.Piece{piece(0, 100, 20)}, [][]blocks.Piece{{piece(0, 100, 8)}, {piece(8, 108, 8)}, {piece(16, 116, 4)}}},
		"segments of many pieces": {Limits{8, 64, 3, 1}, []blocks.Piece{piece(0, 100, 10), piece(50, 200, 1), piece(60, 300, 9)}, [][]blocks.Piece{{piece(0, 100, 8), piece(8, 108, 2), piece(50, 200, 1)}, {piece(60, 300, 8), piece(68, 308, 1)}}},
		"full by blocks":          {Limits{8, 12, 9, 1}, []blocks.Piece{piece(0, 100, 10), piece(50, 200, 4)}, [][]blocks.Piece{{piece(0, 100, 8), piece(8, 108, 2), piece(50, 200, 2)}, {piece(52, 202, 2)}}},
		"granules":                {Limits{9, 13, 9, 4}, []blocks.Piece{piece(0, 100, 20)}, [][]blocks.Piece{{piece(0, 100, 8), piece(8, 108, 4)}, {piece(12, 112, 8)}}},
		"65535 blocks":            {Limits{65535, 65535, 1, 1}, []blocks.Piece{piece(1<<40, 1<<41, 65536)}, [][]blocks.Piece{{piece(1<<40, 1<<41, 65535)}, {piece(1<<40+65535, 1<<41+65535, 1)}}},
	} {
		if got := packed(t, tc.limits, tc.pieces); fmt.Sprint(got) != fmt.Sprint(tc.want) {
			t.Errorf("%s:\n got %v\nwant %v", name, got, tc.want)
		}
	}
}

func TestPackRefuses(t *testing.T) {
	ok := Limits{8, 8, 1, 1}
	for name, tc := range map[string]struct {
		limits Limits
		piece  blocks.Piece
	}{
		"no segment":        {Limits{8, 8, 0, 1}, piece(1, 2, 1)},
		"no blocks":         {Limits{0, 0, 1, 1}, piece(1, 2, 1)},
		"no granularity":    {Limits{8, 8, 1, 0}, piece(1, 2, 1)},
		"segment too long":  {Limits{65536, 65536, 1, 1}, piece(1, 2, 1)},
		"too many segments": {Limits{1, 1000, 129, 1}, piece(1, 2, 1)},
		"empty piece":       {ok, piece(1, 2, 0)},
		"source wraps":      {ok, piece(^uint64(0), 2, 1)},
		"destination wraps": {ok, piece(1, ^uint64(0)-1, 3)},
		"half a granule":    {Limits{8, 8, 1, 4}, piece(1, 2, 6)},
	} {
		if _, err := NewPacker(tc.limits, []blocks.Piece{tc.piece}); !errors.Is(err, blocks.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSplit(t *testing.T) {
	whole, slivers := split([]blocks.Piece{piece(0, 100, 8), piece(20, 200, 3), piece(40, 300, 9)}, 4)
	if fmt.Sprint(whole, slivers) != "[0+8->100 40+8->300] [20+3->200 48+1->308]" {
		t.Error(whole, slivers)
	}
}

func drawLimits(t *rapid.T) Limits {
	g := rapid.SampledFrom([]uint32{1, 1, 1, 2, 4}).Draw(t, "granularity")
	l := Limits{
		SegmentBlocks: g * rapid.Uint32Range(1, 12).Draw(t, "segment"),
		Segments:      rapid.Uint16Range(1, 5).Draw(t, "segments"),
		Granularity:   g,
	}
	l.CommandBlocks = l.SegmentBlocks + g*rapid.Uint32Range(0, 20).Draw(t, "command")
	return l
}

// drawPieces makes pieces in order of destination, whose sources lie below and
// destinations from half on. Gaps and continued sources both occur often.
func drawPieces(t *rapid.T, half uint64) []blocks.Piece {
	var pieces []blocks.Piece
	dst, src := half+rapid.Uint64Range(0, 3).Draw(t, "start"), uint64(0)
	for range rapid.IntRange(1, 12).Draw(t, "pieces") {
		n := rapid.Uint64Range(1, 24).Draw(t, "blocks")
		if rapid.Bool().Draw(t, "jump") || src+n > half {
			src = rapid.Uint64Range(0, half-n).Draw(t, "source")
		}
		if dst+n > 2*half {
			break
		}
		pieces = append(pieces, piece(src, dst, n))
		src, dst = src+n, dst+n+rapid.SampledFrom([]uint64{0, 0, 1, 5}).Draw(t, "gap")
	}
	return pieces
}

// sources maps every block of the destination to its source.
func sources(pieces []blocks.Piece) map[uint64]uint64 {
	m := make(map[uint64]uint64)
	for _, p := range pieces {
		for i := range p.Blocks {
			m[p.DstLBA+i] = p.SrcLBA + i
		}
	}
	return m
}

func TestPackCoversOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := drawLimits(t)
		pieces, slivers := split(drawPieces(t, 200), l.Granularity)
		p, err := NewPacker(l, pieces)
		if err != nil {
			t.Fatal(err)
		}
		stop := rapid.IntRange(0, 100).Draw(t, "stop")
		var all []blocks.Piece
		for i := 0; ; i++ {
			if i == stop {
				all = p.Rest(all)
				break
			}
			cmd := p.Next(nil)
			if len(cmd) == 0 {
				break
			}
			var sum uint64
			for _, s := range cmd {
				if s.Blocks == 0 || s.Blocks > uint64(l.SegmentBlocks) || s.Blocks%uint64(l.Granularity) != 0 {
					t.Fatalf("segment %v in %v", s, l)
				}
				sum += s.Blocks
			}
			if len(cmd) > int(l.Segments) || sum > uint64(l.CommandBlocks) {
				t.Fatalf("command %v in %v", cmd, l)
			}
			all = append(all, cmd...)
		}
		var n uint64
		for _, p := range all {
			n += p.Blocks
		}
		want := sources(pieces)
		if got := sources(all); fmt.Sprint(got) != fmt.Sprint(want) || n != uint64(len(want)) {
			t.Fatalf("%v became %v", pieces, all)
		}
		for _, s := range slivers {
			if s.Blocks >= uint64(l.Granularity) {
				t.Fatalf("sliver %v", s)
			}
		}
	})
}
