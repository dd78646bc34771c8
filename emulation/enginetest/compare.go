package enginetest

import (
	"bytes"
	"cmp"
	"context"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/dmcopy/dmcopy/emulation"
)

// drawDifferences makes the destination equal to the source where ops are, but
// for a few bytes.
func drawDifferences(t *rapid.T, s *scene) {
	want, _ := s.apply(nil, nil)
	s.dst = want
	for _, at := range rapid.SliceOfN(rapid.IntRange(0, len(want)-1), 0, 20).Draw(t, "differences") {
		for i := range rapid.IntRange(1, 2000).Draw(t, "how long") {
			if at+i < len(want) && (i%3 > 0 || i == 0) {
				want[at+i] ^= 0x55
			}
		}
	}
}

func byDestination(a, b emulation.Mismatch) int { return cmp.Compare(a.Dst, b.Dst) }

func (s suite) compare(t *rapid.T, create func(int64, int) Storage) {
	scene := drawScene(t, 2*sectorSize)
	drawDifferences(t, &scene)
	src, dst := create(int64(len(scene.src)), scene.srcBlock), create(int64(len(scene.dst)), scene.dstBlock)
	defer release(t, src, dst)
	src.Fill(scene.src)
	dst.Fill(scene.dst)
	engine := s.engine(t, scene.options)
	defer closeEngine(t, engine)
	result, err := engine.Compare(context.Background(), src, dst, slices.Values(scene.ops), emulation.Observer{})
	if err != nil || len(result.Failures) > 0 || result.Truncated {
		t.Fatalf("compare: %v, %+v", err, result)
	}
	want := scene.mismatches()
	slices.SortFunc(want, byDestination)
	if !slices.Equal(result.Mismatches, want) {
		t.Fatalf("mismatches\n%+v, want\n%+v", result.Mismatches, want)
	}
	var total int64
	for _, op := range scene.ops {
		total += op.Len
	}
	if result.Read != total {
		t.Fatalf("stats %+v, want %d read", result.Stats, total)
	}
	if !bytes.Equal(src.Contents(), scene.src) || !bytes.Equal(dst.Contents(), scene.dst) {
		t.Fatalf("comparing has changed a device")
	}
}

func (s suite) compareWithFaults(t *rapid.T) {
	scene := drawScene(t, 2*sectorSize)
	scene.dst, _ = scene.apply(nil, nil)
	srcFaults := drawFaults(t, len(scene.src), "bad source")
	dstFaults := drawFaults(t, len(scene.dst), "bad destination")
	src := s.memory(Config{Name: "source", Size: int64(len(scene.src)), BlockSize: scene.srcBlock, ReadFaults: srcFaults})
	dst := s.memory(Config{Name: "destination", Size: int64(len(scene.dst)), BlockSize: scene.dstBlock, ReadFaults: dstFaults})
	src.Fill(scene.src)
	dst.Fill(scene.dst)
	engine := s.engine(t, scene.options)
	defer closeEngine(t, engine)
	result, err := engine.Compare(context.Background(), src, dst, slices.Values(scene.ops), emulation.Observer{})
	if err != nil || len(result.Mismatches) > 0 {
		t.Fatalf("compare: %v, %v", err, result.Mismatches)
	}
	var total, failed int64
	for _, op := range scene.ops {
		total += op.Len
		for k := range op.Len {
			if !op.Zero && damaged(srcFaults, op.Src+k, scene.srcBlock) || damaged(dstFaults, op.Dst+k, scene.dstBlock) {
				failed++
			}
		}
	}
	if result.Failed != failed || result.Read+result.Failed != total {
		t.Fatalf("stats %+v, want %d failed of %d", result.Stats, failed, total)
	}
	var listed int64
	for _, f := range result.Failures {
		listed += f.Op.Len
	}
	if listed != failed {
		t.Fatalf("%d bytes in failures, want %d", listed, failed)
	}
}

func (s suite) boundedMismatches(t *testing.T) {
	src := s.memory(Config{Name: "source", Size: 1 << 20, BlockSize: 512})
	dst := s.memory(Config{Name: "destination", Size: 1 << 20, BlockSize: 512})
	data := make([]byte, 1<<20)
	for i := 1027; i < len(data); i += 1024 {
		data[i] = 1
	}
	dst.Fill(data)
	engine := s.engine(t, emulation.Options{QueueDepth: 4, BlockSize: 4096, MaxMismatches: 5})
	defer closeEngine(t, engine)
	ops := slices.Values([]emulation.Op{{Len: 1 << 20}})
	result, err := engine.Compare(context.Background(), src, dst, ops, emulation.Observer{})
	if err != nil || !result.Truncated || len(result.Mismatches) != 5 {
		t.Fatalf("compare: %v, %+v", err, result)
	}
	for i, m := range result.Mismatches {
		if at := int64(1027 + 1024*i); m != (emulation.Mismatch{Src: at, Dst: at, Len: 1}) {
			t.Errorf("mismatch %d: %+v", i, m)
		}
	}
}

// flawsInComparedBlock: a bad source sector splits what is compared with one
// block of the destination, and that block is bad too. Each byte is lost once.
func (s suite) flawsInComparedBlock(t *testing.T) {
	src := s.memory(Config{Name: "source", Size: 8192, BlockSize: 512, ReadFaults: map[int64]error{2: unix.EIO}})
	dst := s.memory(Config{Name: "destination", Size: 8192, BlockSize: 4096, ReadFaults: map[int64]error{0: unix.EIO}})
	engine := s.engine(t, emulation.Options{BlockSize: 8192})
	defer closeEngine(t, engine)
	result, err := engine.Compare(context.Background(), src, dst, slices.Values([]emulation.Op{{Len: 8192}}), emulation.Observer{})
	if err != nil || result.Failed != 4096 || result.Read != 4096 || len(result.Mismatches) > 0 {
		t.Fatalf("compare: %v, %+v", err, result)
	}
}
