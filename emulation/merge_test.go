package emulation

import (
	"errors"
	"io"
	"reflect"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

func TestJoinFailures(t *testing.T) {
	failure := func(src, dst, n int64, verb, device string, err error) Failure {
		return Failure{Op{Src: src, Dst: dst, Len: n}, &Error{verb, device, src, n, err}}
	}
	first := failure(0, 8192, 512, "read", "a", unix.EIO)
	for name, c := range map[string]struct {
		next Failure
		join bool
	}{
		"same":          {failure(512, 8704, 512, "read", "a", unix.EIO), true},
		"other errno":   {failure(512, 8704, 512, "read", "a", unix.ENODATA), false},
		"no errno":      {failure(512, 8704, 512, "read", "a", io.ErrUnexpectedEOF), false},
		"other device":  {failure(512, 8704, 512, "read", "b", unix.EIO), false},
		"other verb":    {failure(512, 8704, 512, "write", "a", unix.EIO), false},
		"other source":  {failure(1024, 8704, 512, "read", "a", unix.EIO), false},
		"gap":           {failure(1024, 9216, 512, "read", "a", unix.EIO), false},
		"foreign error": {Failure{Op{Src: 512, Dst: 8704, Len: 512}, unix.EIO}, false},
	} {
		for _, list := range [][]Failure{
			insertFailure(insertFailure(nil, first), c.next),
			insertFailure(insertFailure(nil, c.next), first),
		} {
			want := []Failure{first, c.next}
			if c.join {
				want = []Failure{failure(0, 8192, 1024, "read", "a", unix.EIO)}
			}
			if !reflect.DeepEqual(list, want) {
				t.Errorf("%s: %+v, want %+v", name, list, want)
			}
		}
	}
}

// TestInsertAnyOrder: the list does not depend on the order in which workers
// finish.
func TestInsertAnyOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var sorted, inserted []Mismatch
		at := int64(0)
		for range rapid.IntRange(0, 30).Draw(t, "number") {
			at += rapid.Int64Range(0, 1200).Draw(t, "gap")
			m := Mismatch{Src: at + 7, Dst: at, Len: rapid.Int64Range(1, 600).Draw(t, "length")}
			sorted = append(sorted, m)
			at += m.Len
		}
		var want []Mismatch
		for _, m := range sorted {
			if n := len(want); n > 0 && m.Dst/512-(want[n-1].Dst+want[n-1].Len-1)/512 <= 1 {
				want[n-1].Len = m.Dst + m.Len - want[n-1].Dst
			} else {
				want = append(want, m)
			}
		}
		if len(sorted) > 0 {
			for _, m := range rapid.Permutation(sorted).Draw(t, "order") {
				inserted = insertMismatch(inserted, m)
			}
		}
		if !reflect.DeepEqual(inserted, want) {
			t.Fatalf("%+v, want %+v", inserted, want)
		}
	})
}

func TestError(t *testing.T) {
	err := error(&Error{"read", "/dev/vg/a", 1 << 20, 512, unix.EIO})
	if got, want := err.Error(), "read /dev/vg/a: 512 bytes at byte 1048576 (sector 2048): input/output error"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if !errors.Is(err, unix.EIO) {
		t.Error("is not EIO")
	}
}
