package alias_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/internal/alias"
	"github.com/dmcopy/dmcopy/internal/alias/aliastest"
)

// TestMay: names of one file are found, and what tells two files apart tells them apart.
func TestMay(t *testing.T) {
	upper, lower, merged := aliastest.Overlay(t)
	other := filepath.Join(t.TempDir(), "other")
	if err := os.WriteFile(other, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{upper + "/new", merged + "/new", true},
		{merged + "/new", upper + "/new", true},
		{lower + "/old", merged + "/old", true},
		{merged + "/old", merged + "/new", false},
		{merged + "/old", upper + "/new", false},
		{other, upper + "/new", false},
		{other, merged + "/new", false},
	} {
		if got, err := alias.May(alias.Path(c.a), alias.Path(c.b)); err != nil || got != c.want {
			t.Errorf("%s and %s: %v, %v", c.a, c.b, got, err)
		}
	}
	if _, err := alias.May(alias.Path(merged), alias.Path(upper+"/none")); err == nil {
		t.Error("what is not there is no other")
	}
}

// stirred is a file that is another one each time that it is looked at.
type stirred struct {
	alias.Path
	times *int64
}

func (s stirred) Statx(flags int, st *unix.Statx_t) error {
	*s.times++
	err := s.Path.Statx(flags, st)
	st.Ctime.Sec = time.Unix(*s.times, 0).Unix()
	return err
}

// TestMayStirred: of what does not stand still nobody knows.
func TestMayStirred(t *testing.T) {
	upper, _, merged := aliastest.Overlay(t)
	var times int64
	if got, err := alias.May(stirred{alias.Path(merged + "/new"), &times}, alias.Path(upper+"/new")); err != nil || !got {
		t.Errorf("%v, %v", got, err)
	}
}
