package ends

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/internal/blockio/looptest"
	"github.com/dmcopy/dmcopy/internal/sysblock"
)

// partitioned is a loop device with two partitions.
func partitioned(t *testing.T) (disk, one, two string) {
	t.Helper()
	const size = 1 << 20
	disk = looptest.Attach(t, file(t, 3*size), 512)
	return disk, looptest.Partition(t, disk, 1, size, size), looptest.Partition(t, disk, 2, 2*size, size)
}

// claimable tells whether somebody else could mount the device.
func claimable(t *testing.T, path string) bool {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDONLY|os.O_EXCL, 0)
	if err == nil {
		err = f.Close()
	} else if errors.Is(err, unix.EBUSY) {
		return false
	}
	if err != nil {
		t.Fatal(err)
	}
	return true
}

func closed(t *testing.T, ends ...Endpoint) {
	t.Helper()
	for _, end := range ends {
		if err := end.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestClaims: whatever the ends of a copy have to do with each other, nobody else can
// claim any of them, until both are closed.
func TestClaims(t *testing.T) {
	disk, one, two := partitioned(t)
	far := looptest.Attach(t, file(t, 3<<20), 512)
	for name, c := range map[string]struct {
		src, dst string
		// others are claimed as well; free are those that are not.
		others, free []string
	}{
		"two disks":               {disk, far, []string{one, two}, nil},
		"a disk":                  {disk, disk, []string{one, two}, nil},
		"a partition":             {one, one, []string{disk}, []string{two, far}},
		"two partitions":          {one, two, []string{disk}, []string{far}},
		"a disk to its part":      {disk, one, []string{two}, nil},
		"a partition to its disk": {one, disk, []string{two}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			src, err := OpenSource(t.Context(), here, c.src, OpenOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if claimable(t, c.src) {
				t.Error("the source can be claimed")
			}
			dst, err := OpenDestination(t.Context(), here, c.dst, OpenOptions{Beside: src})
			if err != nil {
				t.Fatal(err)
			}
			all := append([]string{c.src, c.dst}, c.others...)
			wantClaimable(t, false, all...)
			wantClaimable(t, true, c.free...)
			// Nor can it be a source of somebody else, if it is written to.
			if c.src == c.dst {
				_, err := OpenSource(t.Context(), here, c.src, OpenOptions{})
				wantRefusal(t, err, []string{"it is opened exclusively by somebody else"})
			}
			closed(t, src)
			wantClaimable(t, false, c.dst)
			closed(t, dst)
			wantClaimable(t, true, all...)
		})
	}
}

func wantClaimable(t *testing.T, want bool, paths ...string) {
	t.Helper()
	for _, path := range paths {
		if claimable(t, path) != want {
			t.Errorf("%s can be claimed: %v", path, !want)
		}
	}
}

// TestClaimedByReaders: a source can be that of several copies at a time, and of a disk
// so can its partitions; but none that is a destination as well.
func TestClaimedByReaders(t *testing.T) {
	disk, one, two := partitioned(t)
	open := func(name string, opts OpenOptions) Endpoint {
		t.Helper()
		src, err := OpenSource(t.Context(), here, name, opts)
		if err != nil {
			t.Fatal(err)
		}
		return src
	}
	src := open(disk, OpenOptions{})
	closed(t, open(disk, OpenOptions{}), open(one, OpenOptions{}))
	_, err := OpenDestination(t.Context(), here, two, OpenOptions{})
	wantRefusal(t, err, []string{"is in use: it is opened exclusively by somebody else"})

	dst, err := OpenDestination(t.Context(), here, two, OpenOptions{Beside: src})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{disk, two} {
		_, err := OpenSource(t.Context(), here, name, OpenOptions{})
		wantRefusal(t, err, []string{"may change while it is read: it is opened exclusively by somebody else"})
	}
	closed(t, src, dst)

	// Of a disk with a partition that is read, the others are claimed.
	reader := open(one, OpenOptions{})
	src = open(disk, OpenOptions{})
	wantClaimable(t, false, disk, one, two)
	closed(t, reader, src)

	f, err := os.OpenFile(two, os.O_RDONLY|os.O_EXCL, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	_, err = OpenSource(t.Context(), here, disk, OpenOptions{})
	wantRefusal(t, err, []string{filepath.Base(two) + " is opened exclusively by somebody else"})
	closed(t, open(one, OpenOptions{}))
}

// TestClaimIsPatient: who has a device for a moment is waited for.
func TestClaimIsPatient(t *testing.T) {
	loop := looptest.Attach(t, file(t, 1<<20), 512)
	f, err := os.OpenFile(loop, os.O_RDONLY|os.O_EXCL, 0)
	if err != nil {
		t.Fatal(err)
	}
	tries := 0
	c := (*claims)(nil).share(here)
	o := opener{sys: here, name: loop}
	if err := o.find(t.Context()); err != nil {
		t.Fatal(err)
	}
	err = c.claim(t.Context(), o.facts, func(f2 *sysblock.Facts) error {
		if tries++; tries == 2 {
			if err := f.Close(); err != nil {
				return err
			}
		}
		return c.take(f2, false)
	})
	if err != nil || tries != 2 || claimable(t, loop) {
		t.Errorf("%d tries: %v", tries, err)
	}
	if err := c.Close(); err != nil || !claimable(t, loop) {
		t.Error(err)
	}
}
