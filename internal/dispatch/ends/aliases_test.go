package ends

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/dmcopy/dmcopy/internal/alias/aliastest"
	"github.com/dmcopy/dmcopy/internal/blockio/looptest"
	"github.com/dmcopy/dmcopy/internal/dispatch/byterange"
)

// TestAliases: a file that a file system shows of another one is that file.
func TestAliases(t *testing.T) {
	upper, lower, merged := aliastest.Overlay(t)
	plain := func(_ *testing.T, path string) string { return path }
	loop := func(t *testing.T, path string) string { return looptest.Attach(t, path, 512) }
	beside := filepath.Join(upper, "beside")
	if err := os.WriteFile(beside, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	other := time.Unix(2, 0) // not that of the other files, and all are made within one tick of the clock
	if err := os.Chtimes(beside, other, other); err != nil {
		t.Fatal(err)
	}
	oneFile := []string{"may be the source by another name", "same times", "touch one of them"}
	for _, c := range []struct {
		name string
		from func(*testing.T, string) string
		src  string
		to   func(*testing.T, string) string
		dst  string
		says []string
	}{
		{"from the upper layer", plain, upper + "/new", plain, merged + "/new", oneFile},
		{"into the upper layer", plain, merged + "/new", plain, upper + "/new", oneFile},
		{"into the lower layer", plain, merged + "/old", plain, lower + "/old", oneFile},
		{"another file of the upper layer", plain, merged + "/new", plain, beside, nil},
		{"from a loop device", loop, merged + "/new", plain, upper + "/new", []string{"is in use", "it is the storage of"}},
		{"to a loop device", plain, upper + "/new", loop, merged + "/new", oneFile},
		{"between loop devices", loop, upper + "/new", loop, merged + "/new", oneFile},
		{"between loop devices on two files", loop, upper + "/new", loop, beside, nil},
		// Last, because it is a file of its own from then on.
		{"out of the lower layer", plain, lower + "/old", plain, merged + "/old", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			src, err := OpenSource(t.Context(), here, c.from(t, c.src), OpenOptions{LiveSource: true})
			if err != nil {
				t.Fatal(err)
			}
			defer src.Close()
			dst, err := OpenDestination(t.Context(), here, c.to(t, c.dst), OpenOptions{Dry: len(c.says) > 0})
			if err == nil {
				defer dst.Close()
				_, err = Ranges(src, dst, []byterange.Range{{Len: 4096}})
			}
			if c.says == nil {
				if err != nil {
					t.Error(err)
				}
				return
			}
			wantRefusal(t, err, c.says)
		})
	}
}

// TestMetadataOnly: nor does one that has got another mode hide which file its contents are of.
func TestMetadataOnly(t *testing.T) {
	_, lower, merged := aliastest.Overlay(t, "metacopy=on")
	if err := os.Chmod(merged+"/old", 0o640); err != nil {
		t.Fatal(err)
	}
	elsewhere := file(t, 1<<20)
	for _, c := range []struct {
		src, dst string
		says     []string
	}{
		{merged + "/old", lower + "/old", []string{"may be the source by another name", "lies in a layer of the overlay that shows"}},
		{lower + "/old", merged + "/old", []string{"lies in a layer of the overlay that shows"}},
		{merged + "/old", elsewhere, nil},
		{elsewhere, merged + "/new", nil},
	} {
		src, err := OpenSource(t.Context(), here, c.src, OpenOptions{})
		if err != nil {
			t.Fatal(err)
		}
		dst, err := OpenDestination(t.Context(), here, c.dst, OpenOptions{Dry: true})
		if err != nil {
			t.Fatal(err)
		}
		_, err = Ranges(src, dst, nil)
		if c.says != nil {
			wantRefusal(t, err, c.says)
		} else if err != nil {
			t.Error(err)
		}
		if err := errors.Join(src.Close(), dst.Close()); err != nil {
			t.Error(err)
		}
	}
}
