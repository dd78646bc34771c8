package ends

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/dmcopy/dmcopy/emulation"
	"github.com/dmcopy/dmcopy/internal/dispatch/byterange"
	"github.com/dmcopy/dmcopy/internal/dispatch/failure"
	"github.com/dmcopy/dmcopy/remap"
)

// sized is a device without data.
type sized struct {
	emulation.Device
	id          string
	size, block int64
}

func (d sized) Size() int64    { return d.size }
func (d sized) BlockSize() int { return int(d.block) }
func (d sized) WriteUnit() int { return int(d.block) }
func (d sized) ID() string     { return d.id }

func blockEnd(name string, size, block int64) Endpoint {
	return Endpoint{Name: name, Dev: remap.Dev{Major: 259}, Device: sized{id: name, size: size, block: block}}
}

func fileEnd(name string, size int64) Endpoint {
	return Endpoint{Name: name, Device: sized{id: name, size: size, block: 4096}}
}

func TestRangesRefuses(t *testing.T) {
	const k = 1 << 10
	src, dst := blockEnd("/dev/a", 64*k, 512), blockEnd("/dev/b", 64*k, 512)
	big := blockEnd("/dev/4kn", 64*k, 4096)
	for name, c := range map[string]struct {
		src, dst Endpoint
		ranges   []byterange.Range
		kind     error
		says     []string
	}{
		"negative source":        {src, dst, []byterange.Range{{Src: -512, Dst: 0, Len: 512}}, failure.ErrUsage, []string{"negative offset"}},
		"negative destination":   {src, dst, []byterange.Range{{Src: 0, Dst: -512, Len: 512}}, failure.ErrUsage, []string{"negative offset"}},
		"negative length":        {src, dst, []byterange.Range{{Src: 0, Dst: 0, Len: -1}}, failure.ErrUsage, []string{"negative length"}},
		"begins at the end":      {src, dst, []byterange.Range{{Src: 64 * k, Dst: 0, Len: 512}}, failure.ErrUsage, []string{"begins at byte 65536", "/dev/a ends at byte 65536"}},
		"rest behind the end":    {src, dst, []byterange.Range{{Src: 64*k + 512, Dst: 0, Len: 0}}, failure.ErrUsage, []string{"begins at byte"}},
		"longer than the source": {src, dst, []byterange.Range{{Src: 512, Dst: 0, Len: 64 * k}}, failure.ErrUsage, []string{"512 bytes beyond the end of /dev/a", "65024 bytes are left"}},
		"source overflow":        {src, dst, []byterange.Range{{Src: 512, Dst: 0, Len: math.MaxInt64}}, failure.ErrUsage, []string{"beyond the end"}},
		"destination overflow":   {src, dst, []byterange.Range{{Src: 0, Dst: math.MaxInt64 - 511, Len: 512}}, failure.ErrUsage, []string{"largest possible offset"}},
		"too small by an offset": {src, dst, []byterange.Range{{Src: 0, Dst: 512, Len: 0}}, failure.ErrRefused, []string{"/dev/b", "too small by 512 bytes"}},
		"too small by far":       {src, blockEnd("/dev/b", 512, 512), nil, failure.ErrRefused, []string{"too small by 65024 bytes"}},
		"starts behind its end":  {src, dst, []byterange.Range{{Src: 0, Dst: 128 * k, Len: 512}}, failure.ErrRefused, []string{"too small by 66048 bytes"}},
		"odd source offset":      {src, dst, []byterange.Range{{Src: 513, Dst: 0, Len: 512}}, failure.ErrUsage, []string{"source offset of 513", "512-byte blocks of /dev/a", "512 and 1024"}},
		"odd destination offset": {src, big, []byterange.Range{{Src: 0, Dst: 512, Len: 4096}}, failure.ErrUsage, []string{"destination offset of 512", "4096-byte blocks of /dev/4kn", "0 and 4096"}},
		"odd length":             {src, big, []byterange.Range{{Src: 0, Dst: 0, Len: 4608}}, failure.ErrUsage, []string{"length of 4608", "4096 and 8192"}},
		"short length":           {src, dst, []byterange.Range{{Src: 0, Dst: 0, Len: 1}}, failure.ErrUsage, []string{"length of 1 bytes", "nearest is 512"}},
		"odd length of a file":   {fileEnd("f", 10000), dst, []byterange.Range{{Src: 0, Dst: 0, Len: 9999}}, failure.ErrUsage, []string{"length of 9999", "/dev/b"}},
		"onto itself":            {src, src, nil, failure.ErrUsage, []string{"onto itself", "/dev/a"}},
		"over itself":            {src, src, []byterange.Range{{Src: 0, Dst: 4 * k, Len: 8 * k}}, failure.ErrUsage, []string{"overlaps itself", "8192 bytes apart"}},
		"written twice":          {src, dst, []byterange.Range{{Src: 0, Dst: 4 * k, Len: 4 * k}, {Src: 8 * k, Dst: 0, Len: 4*k + 512}}, failure.ErrUsage, []string{"range 2 (8192:0:4608)", "range 1 (0:4096:4096)"}},
		"the same twice":         {src, dst, []byterange.Range{{Src: 0, Dst: 0, Len: 512}, {Src: 0, Dst: 0, Len: 512}}, failure.ErrUsage, []string{"range 2", "range 1"}},
		"reads what was written": {src, src, []byterange.Range{{Src: 0, Dst: 32 * k, Len: 4 * k}, {Src: 34 * k, Dst: 48 * k, Len: 4 * k}}, failure.ErrUsage, []string{"range 2", "reads what range 1"}},
		"reads what is written":  {src, src, []byterange.Range{{Src: 34 * k, Dst: 48 * k, Len: 4 * k}, {Src: 0, Dst: 32 * k, Len: 4 * k}}, failure.ErrUsage, []string{"range 1", "reads what range 2"}},
		"second of many":         {src, dst, []byterange.Range{{Src: 0, Dst: 0, Len: 512}, {Src: 1, Dst: 512, Len: 512}}, failure.ErrUsage, []string{"range 2 (1:512:512)"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Ranges(c.src, c.dst, c.ranges)
			var refusal *failure.Refusal
			if !errors.As(err, &refusal) || !errors.Is(err, c.kind) {
				t.Fatalf("error %v, want a refusal of kind %v", err, c.kind)
			}
			for _, text := range c.says {
				if !strings.Contains(err.Error(), text) {
					t.Errorf("%q does not say %q", err, text)
				}
			}
		})
	}
}

func TestRangesFillsIn(t *testing.T) {
	const k = 1 << 10
	src, dst := blockEnd("/dev/a", 64*k, 512), blockEnd("/dev/b", 128*k, 512)
	for name, c := range map[string]struct {
		src, dst  Endpoint
		got, want []byterange.Range
	}{
		"everything":               {src, dst, nil, []byterange.Range{{Src: 0, Dst: 0, Len: 64 * k}}},
		"the rest":                 {src, dst, []byterange.Range{{Src: 512, Dst: 1024, Len: 0}}, []byterange.Range{{Src: 512, Dst: 1024, Len: 64*k - 512}}},
		"as given":                 {src, dst, []byterange.Range{{Src: 512, Dst: 0, Len: 512}, {Src: 0, Dst: 512, Len: 512}}, []byterange.Range{{Src: 512, Dst: 0, Len: 512}, {Src: 0, Dst: 512, Len: 512}}},
		"an empty file":            {fileEnd("f", 0), dst, nil, nil},
		"a file with an odd end":   {fileEnd("f", 10001), dst, nil, []byterange.Range{{Src: 0, Dst: 0, Len: 10001}}},
		"a 512-byte disk to 4Kn":   {blockEnd("/dev/a", 4608, 512), blockEnd("/dev/c", 8192, 4096), nil, []byterange.Range{{Src: 0, Dst: 0, Len: 4608}}},
		"odd places between files": {fileEnd("f", 10001), fileEnd("g", 10001), []byterange.Range{{Src: 3, Dst: 5, Len: 7}}, []byterange.Range{{Src: 3, Dst: 5, Len: 7}}},
		"within one device":        {src, src, []byterange.Range{{Src: 0, Dst: 32 * k, Len: 32 * k}}, []byterange.Range{{Src: 0, Dst: 32 * k, Len: 32 * k}}},
		"swapped files":            {fileEnd("f", 8), fileEnd("f", 8), []byterange.Range{{Src: 0, Dst: 4, Len: 4}}, []byterange.Range{{Src: 0, Dst: 4, Len: 4}}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Ranges(c.src, c.dst, c.got)
			if err != nil {
				t.Fatal(err)
			}
			if len(got) != len(c.want) {
				t.Fatalf("got %v, want %v", got, c.want)
			}
			for i := range got {
				if got[i] != c.want[i] {
					t.Fatalf("got %v, want %v", got, c.want)
				}
			}
			if again, err := Ranges(c.src, c.dst, got); err != nil || !slices.Equal(again, got) {
				t.Errorf("the answer is refused: %v, %v", again, err)
			}
		})
	}
}

// An offset that is left out is where the range before ended.
func TestRangesFollow(t *testing.T) {
	const k = 1 << 10
	src, dst := blockEnd("/dev/a", 64*k, 512), blockEnd("/dev/b", 64*k, 512)
	got, err := Ranges(src, dst, []byterange.Range{{Src: byterange.Follow, Dst: byterange.Follow, Len: k}, {Src: byterange.Follow, Dst: byterange.Follow, Len: k}, {Src: 8 * k, Dst: byterange.Follow, Len: k}, {Src: byterange.Follow, Dst: 16 * k, Len: k}, {Src: byterange.Follow, Dst: byterange.Follow, Len: 0}})
	want := []byterange.Range{{Src: 0, Dst: 0, Len: k}, {Src: k, Dst: k, Len: k}, {Src: 8 * k, Dst: 2 * k, Len: k}, {Src: 9 * k, Dst: 16 * k, Len: k}, {Src: 10 * k, Dst: 17 * k, Len: 54 * k}}
	if err == nil || !strings.Contains(err.Error(), "too small by") {
		t.Errorf("%v, %v", got, err)
	}
	want = want[:4]
	got, err = Ranges(src, dst, []byterange.Range{{Src: byterange.Follow, Dst: byterange.Follow, Len: k}, {Src: byterange.Follow, Dst: byterange.Follow, Len: k}, {Src: 8 * k, Dst: byterange.Follow, Len: k}, {Src: byterange.Follow, Dst: 16 * k, Len: k}})
	if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%v, %v; want %v", got, err, want)
	}
	// Nothing is left behind the rest.
	_, err = Ranges(src, dst, []byterange.Range{{Src: byterange.Follow, Dst: byterange.Follow, Len: 0}, {Src: byterange.Follow, Dst: byterange.Follow, Len: 0}})
	if !errors.Is(err, failure.ErrUsage) || !strings.Contains(err.Error(), "begins at byte 65536") {
		t.Error(err)
	}
}

// TestRangesAgainstBlocks compares the overlap checks with a model that marks
// every block on its own.
func TestRangesAgainstBlocks(t *testing.T) {
	const blocks = 24
	rapid.Check(t, func(t *rapid.T) {
		src, dst := blockEnd("/dev/a", blocks*512, 512), blockEnd("/dev/b", blocks*512, 512)
		same := rapid.Bool().Draw(t, "same device")
		if same {
			dst = src
		}
		var ranges []byterange.Range
		for range rapid.IntRange(1, 5).Draw(t, "count") {
			n := rapid.Int64Range(1, 6).Draw(t, "len")
			ranges = append(ranges, byterange.Range{
				Src: 512 * rapid.Int64Range(0, blocks-n).Draw(t, "src"),
				Dst: 512 * rapid.Int64Range(0, blocks-n).Draw(t, "dst"),
				Len: 512 * n,
			})
		}
		var read, written [blocks]int
		for _, r := range ranges {
			for i := range r.Len / 512 {
				read[r.Src/512+i]++
				written[r.Dst/512+i]++
			}
		}
		clash := false
		for i := range blocks {
			clash = clash || written[i] > 1 || same && written[i] > 0 && read[i] > 0
		}
		if _, err := Ranges(src, dst, ranges); (err != nil) != clash {
			t.Fatalf("ranges %v, same device %v: error %v, clash %v", ranges, same, err, clash)
		}
	})
}

// TestStorageOfTheOtherEnd: a loop device and its file are no two
func TestStorageOfTheOtherEnd(t *testing.T) {
	file := Endpoint{Name: "file", Device: plannedFile{size: 4096, name: "x"}}
	loop := Endpoint{Name: "loop", Device: plannedFile{size: 4096, name: "loop"}, storage: file.Device.ID()}
	unknown := Endpoint{Name: "unknown", Device: plannedFile{size: 4096, name: "unknown"}}
	for _, c := range []struct {
		src, dst Endpoint
		refused  bool
	}{{file, loop, true}, {loop, file, true}, {file, unknown, false}, {unknown, loop, false}} {
		if _, err := Ranges(c.src, c.dst, nil); errors.Is(err, failure.ErrRefused) != c.refused || err != nil && !c.refused {
			t.Errorf("%s to %s: %v", c.src.Name, c.dst.Name, err)
		}
	}
}
