package main

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/dmcopy/dmcopy/internal/dispatch/byterange"
	"github.com/dmcopy/dmcopy/internal/dispatch/failure"
)

func TestReadRanges(t *testing.T) {
	got, err := readRanges(strings.NewReader("# ranges\n\n0:0:1M\n  1M:4s:512 # tail\n5:6:0\n::\n:7:1K\n3::"), "list")
	want := []byterange.Range{{Len: 1 << 20}, {Src: 1 << 20, Dst: 2048, Len: 512}, {Src: 5, Dst: 6},
		{Src: byterange.Follow, Dst: byterange.Follow}, {Src: byterange.Follow, Dst: 7, Len: 1024}, {Src: 3, Dst: byterange.Follow}}
	if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%v, %v; want %v", got, err, want)
	}
}

func TestReadRangesRefuses(t *testing.T) {
	for text, says := range map[string]string{
		"":                                     "list holds no ranges",
		"# nothing\n\n":                        "list holds no ranges",
		"0:0:1\n0:0\n":                         `list, line 2: "0:0" is not a range`,
		"0:0:1:2":                              "list, line 1",
		"::5:":                                 "list, line 1",
		"0:0:1.5":                              "list, line 1",
		"0:0:-1":                               "list, line 1",
		"0:0:1\n\n#\n1: 2:3":                   "list, line 4",
		"0:0:99999999999999999999":             "too large",
		strings.Repeat("0", 1<<17):             "list, line 1: too long",
		"0:0:1\n" + strings.Repeat("0", 1<<17): "list, line 2: too long",
	} {
		_, err := readRanges(strings.NewReader(text), "list")
		if !errors.Is(err, failure.ErrUsage) || !strings.Contains(err.Error(), says) {
			t.Errorf("%.20q: %v; want %q", text, err, says)
		}
	}
}

func TestReadRangesMillion(t *testing.T) {
	const count = 1_000_000
	var text strings.Builder
	for i := range count {
		fmt.Fprintf(&text, "%dK:%dK:1K\n", 2*i, i)
	}
	got, err := readRanges(strings.NewReader(text.String()), "list")
	if err != nil || len(got) != count || got[count-1] != (byterange.Range{Src: 2 * (count - 1) << 10, Dst: (count - 1) << 10, Len: 1 << 10}) {
		t.Errorf("%d ranges, %v", len(got), err)
	}
}

// endless is a text over and over.
type endless struct{ text, rest string }

func (e *endless) Read(p []byte) (int, error) {
	if e.rest == "" {
		e.rest = e.text
	}
	n := copy(p, e.rest)
	e.rest = e.rest[n:]
	return n, nil
}

// TestReadRangesEndless: what does not end is not read to its end.
func TestReadRangesEndless(t *testing.T) {
	for text, says := range map[string]string{
		"0:0:1\n": "more than 1000 ranges", "# nothing\n": "longer than 65536 bytes", "\n": "longer than",
	} {
		if _, err := readRangesWithin(&endless{text: text}, "list", 1000, 1<<16); !errors.Is(err, failure.ErrUsage) || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v", text, err)
		}
	}
	list := strings.Repeat("0:0:1\n", 1000)
	if got, err := readRangesWithin(strings.NewReader(list), "list", 1000, int64(len(list))); err != nil || len(got) != 1000 {
		t.Errorf("%d ranges, %v", len(got), err)
	}
	for _, text := range []string{"0:0:1\x00\n", "\x00", "0\x00:0:1"} {
		if _, err := readRanges(strings.NewReader(text), "list"); !errors.Is(err, failure.ErrUsage) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// FuzzReadRanges: whatever is accepted prints and reads back the same.
func FuzzReadRanges(f *testing.F) {
	for _, seed := range []string{"0:0:1M", "1s:2K:3G # x\n\n4:5:0", "::", "a:b:c", "-1:0:0", "9223372036854775807:0:8388607T"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		ranges, err := readRanges(strings.NewReader(text), "list")
		if err != nil {
			if !errors.Is(err, failure.ErrUsage) {
				t.Fatalf("%v is no usage error", err)
			}
			return
		}
		var printed strings.Builder
		for _, r := range ranges {
			for i, v := range []int64{r.Src, r.Dst, r.Len} {
				switch {
				case v >= 0:
					printed.WriteString(exact(v))
				case v != byterange.Follow || i == 2:
					t.Fatalf("negative: %v", r)
				}
				printed.WriteString([]string{":", ":", "\n"}[i])
			}
		}
		again, err := readRanges(strings.NewReader(printed.String()), "list")
		if err != nil || fmt.Sprint(again) != fmt.Sprint(ranges) {
			t.Fatalf("%v became %v, %v", ranges, again, err)
		}
	})
}
