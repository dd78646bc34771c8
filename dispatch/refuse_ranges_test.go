package dispatch

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/dmcopy/dmcopy/emulation"
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
		ranges   []Range
		kind     error
		says     []string
	}{
		"negative source":        {src, dst, []Range{{-512, 0, 512}}, ErrUsage, []string{"negative offset"}},
		"negative destination":   {src, dst, []Range{{0, -512, 512}}, ErrUsage, []string{"negative offset"}},
		"negative length":        {src, dst, []Range{{0, 0, -1}}, ErrUsage, []string{"negative length"}},
		"begins at the end":      {src, dst, []Range{{64 * k, 0, 512}}, ErrUsage, []string{"begins at byte 65536", "/dev/a ends at byte 65536"}},
		"rest behind the end":    {src, dst, []Range{{64*k + 512, 0, 0}}, ErrUsage, []string{"begins at byte"}},
		"longer than the source": {src, dst, []Range{{512, 0, 64 * k}}, ErrUsage, []string{"512 bytes beyond the end of /dev/a", "65024 bytes are left"}},
		"source overflow":        {src, dst, []Range{{512, 0, math.MaxInt64}}, ErrUsage, []string{"beyond the end"}},
		"destination overflow":   {src, dst, []Range{{0, math.MaxInt64 - 511, 512}}, ErrUsage, []string{"largest possible offset"}},
		"too small by an offset": {src, dst, []Range{{0, 512, 0}}, ErrRefused, []string{"/dev/b", "too small by 512 bytes"}},
		"too small by far":       {src, blockEnd("/dev/b", 512, 512), nil, ErrRefused, []string{"too small by 65024 bytes"}},
		"starts behind its end":  {src, dst, []Range{{0, 128 * k, 512}}, ErrRefused, []string{"too small by 66048 bytes"}},
		"odd source offset":      {src, dst, []Range{{513, 0, 512}}, ErrUsage, []string{"source offset of 513", "512-byte blocks of /dev/a", "512 and 1024"}},
		"odd destination offset": {src, big, []Range{{0, 512, 4096}}, ErrUsage, []string{"destination offset of 512", "4096-byte blocks of /dev/4kn", "0 and 4096"}},
		"odd length":             {src, big, []Range{{0, 0, 4608}}, ErrUsage, []string{"length of 4608", "4096 and 8192"}},
		"short length":           {src, dst, []Range{{0, 0, 1}}, ErrUsage, []string{"length of 1 bytes", "nearest is 512"}},
		"odd length of a file":   {fileEnd("f", 10000), dst, []Range{{0, 0, 9999}}, ErrUsage, []string{"length of 9999", "/dev/b"}},
		"onto itself":            {src, src, nil, ErrUsage, []string{"onto itself", "/dev/a"}},
		"over itself":            {src, src, []Range{{0, 4 * k, 8 * k}}, ErrUsage, []string{"overlaps itself", "8192 bytes apart"}},
		"written twice":          {src, dst, []Range{{0, 4 * k, 4 * k}, {8 * k, 0, 4*k + 512}}, ErrUsage, []string{"range 2 (8192:0:4608)", "range 1 (0:4096:4096)"}},
		"the same twice":         {src, dst, []Range{{0, 0, 512}, {0, 0, 512}}, ErrUsage, []string{"range 2", "range 1"}},
		"reads what was written": {src, src, []Range{{0, 32 * k, 4 * k}, {34 * k, 48 * k, 4 * k}}, ErrUsage, []string{"range 2", "reads what range 1"}},
		"reads what is written":  {src, src, []Range{{34 * k, 48 * k, 4 * k}, {0, 32 * k, 4 * k}}, ErrUsage, []string{"range 1", "reads what range 2"}},
		"second of many":         {src, dst, []Range{{0, 0, 512}, {1, 512, 512}}, ErrUsage, []string{"range 2 (1:512:512)"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Ranges(c.src, c.dst, c.ranges)
			var refusal *Refusal
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
		got, want []Range
	}{
		"everything":               {src, dst, nil, []Range{{0, 0, 64 * k}}},
		"the rest":                 {src, dst, []Range{{512, 1024, 0}}, []Range{{512, 1024, 64*k - 512}}},
		"as given":                 {src, dst, []Range{{512, 0, 512}, {0, 512, 512}}, []Range{{512, 0, 512}, {0, 512, 512}}},
		"an empty file":            {fileEnd("f", 0), dst, nil, nil},
		"a file with an odd end":   {fileEnd("f", 10001), dst, nil, []Range{{0, 0, 10001}}},
		"a 512-byte disk to 4Kn":   {blockEnd("/dev/a", 4608, 512), blockEnd("/dev/c", 8192, 4096), nil, []Range{{0, 0, 4608}}},
		"odd places between files": {fileEnd("f", 10001), fileEnd("g", 10001), []Range{{3, 5, 7}}, []Range{{3, 5, 7}}},
		"within one device":        {src, src, []Range{{0, 32 * k, 32 * k}}, []Range{{0, 32 * k, 32 * k}}},
		"swapped files":            {fileEnd("f", 8), fileEnd("f", 8), []Range{{0, 4, 4}}, []Range{{0, 4, 4}}},
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
			if err := (Job{Src: c.src, Dst: c.dst, Ranges: got}).Check(); err != nil {
				t.Errorf("the answer is refused: %v", err)
			}
		})
	}
}

// An offset that is left out is where the range before ended.
func TestRangesFollow(t *testing.T) {
	const k = 1 << 10
	src, dst := blockEnd("/dev/a", 64*k, 512), blockEnd("/dev/b", 64*k, 512)
	got, err := Ranges(src, dst, []Range{{Follow, Follow, k}, {Follow, Follow, k}, {8 * k, Follow, k}, {Follow, 16 * k, k}, {Follow, Follow, 0}})
	want := []Range{{0, 0, k}, {k, k, k}, {8 * k, 2 * k, k}, {9 * k, 16 * k, k}, {10 * k, 17 * k, 54 * k}}
	if err == nil || !strings.Contains(err.Error(), "too small by") {
		t.Errorf("%v, %v", got, err)
	}
	want = want[:4]
	got, err = Ranges(src, dst, []Range{{Follow, Follow, k}, {Follow, Follow, k}, {8 * k, Follow, k}, {Follow, 16 * k, k}})
	if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%v, %v; want %v", got, err, want)
	}
	// Nothing is left behind the rest.
	_, err = Ranges(src, dst, []Range{{Follow, Follow, 0}, {Follow, Follow, 0}})
	if !errors.Is(err, ErrUsage) || !strings.Contains(err.Error(), "begins at byte 65536") {
		t.Error(err)
	}
}

func TestCheckWantsLengths(t *testing.T) {
	src, dst := blockEnd("/dev/a", 4096, 512), blockEnd("/dev/b", 4096, 512)
	if err := (Job{Src: src, Dst: dst, Ranges: []Range{{0, 0, 0}}}).Check(); !errors.Is(err, ErrUsage) {
		t.Errorf("an empty range: %v", err)
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
		var ranges []Range
		for range rapid.IntRange(1, 5).Draw(t, "count") {
			n := rapid.Int64Range(1, 6).Draw(t, "len")
			ranges = append(ranges, Range{
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
