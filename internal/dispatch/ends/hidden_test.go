package ends

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/internal/blockio/looptest"
)

// TestHiddenMount: of a file system that is mounted where nobody sees it, what is known is said.
func TestHiddenMount(t *testing.T) {
	dir := t.TempDir()
	disk := looptest.Format(t, file(t, 32<<20))
	if err := unix.Mount(disk, dir, "ext4", 0, ""); err != nil {
		t.Fatal(err)
	}
	writer, err := os.Create(filepath.Join(dir, "file"))
	if err := errors.Join(err, unix.Unmount(dir, unix.MNT_DETACH)); err != nil {
		t.Fatal(err)
	}
	hidden := []string{"it is opened exclusively by somebody else, for a file system (ext4) that is mounted where no list of mounts shows it", "umount --lazy"}
	_, err = OpenSource(t.Context(), here, disk, OpenOptions{Freeze: true})
	wantRefusal(t, err, append(hidden, "cannot be frozen", "lvcreate -s", "--live-source"))
	_, err = OpenSource(t.Context(), here, disk, OpenOptions{})
	wantRefusal(t, err, append(hidden, "may change while it is read", "--live-source"))
	_, err = OpenDestination(t.Context(), here, disk, OpenOptions{})
	wantRefusal(t, err, append(hidden, "is in use"))

	if err := writer.Close(); err != nil {
		t.Fatal(err)
	}
	_, err = OpenSource(t.Context(), here, disk, OpenOptions{Freeze: true})
	wantRefusal(t, err, []string{"is not mounted read-write: there is nothing to freeze: leave out --freeze"})

	// Whoever else has claimed it may be a file system of another kind.
	claim, err := os.OpenFile(disk, os.O_RDONLY|unix.O_EXCL, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer claim.Close()
	unknown := []string{"it is opened exclusively by somebody else", "fuser -v " + disk, "may be mounted where no list of mounts shows it"}
	for _, opts := range []OpenOptions{{}, {Freeze: true}} {
		_, err = OpenSource(t.Context(), here, disk, opts)
		wantRefusal(t, err, unknown)
	}
}
