package ends

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/internal/dispatch/byterange"
	"github.com/dmcopy/dmcopy/internal/dispatch/failure"
	"github.com/dmcopy/dmcopy/internal/journal"
	"github.com/dmcopy/dmcopy/internal/sysblock"
	"github.com/dmcopy/dmcopy/remap"
)

const (
	// frozenVersion keeps what was copied of a frozen source from being gone on with
	// unless it is frozen again: only then is all of it compared.
	frozenVersion = "copied with --freeze"
	// liveVersion keeps what was copied of a source while it changed from being taken
	// for a part of a copy of what it is when it changes no more.
	liveVersion = "copied with --live-source"
)

// Describe is a copy as a journal knows it.
func Describe(sys sysblock.FS, src, dst Endpoint, copied []byterange.Range, live bool) (journal.Plan, []journal.Range, error) {
	var ranges []journal.Range
	for _, g := range copied {
		ranges = append(ranges, journal.Range(g))
	}
	plan := journal.Plan{Ranges: journal.SumUp(ranges)}
	var err error
	if plan.Source, err = describe(sys, src); err != nil {
		return plan, nil, err
	}
	switch {
	case src.mounted != nil:
		plan.Source.Version = frozenVersion
	case live:
		plan.Source.Version = liveVersion
	}
	plan.Destination, err = describe(sys, dst)
	plan.Destination.Version = ""
	return plan, ranges, err
}

func describe(sys sysblock.FS, e Endpoint) (journal.End, error) {
	end := journal.End{Name: e.Name, Size: e.Device.Size()}
	var err error
	if e.Dev.IsZero() {
		end.Identity, end.Version, err = identifyFile(e.Device.Name(), e.Device.ID())
	} else {
		end.Identity, err = sys.Identity(e.Dev)
	}
	return end, failure.During("open", err)
}

// identifyFile tells a file from others by its inode and when it was made, since
// numbers of inodes are used again, and its contents from earlier ones by when
// they were changed. The number of the device that the file system is on can
// change with every boot.
func identifyFile(path, id string) (identity, version string, err error) {
	var st unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, path, 0, unix.STATX_BASIC_STATS|unix.STATX_BTIME, &st); err != nil {
		return "", "", fmt.Errorf("%s: %w", path, err)
	}
	dev := remap.Dev{Major: st.Dev_major, Minor: st.Dev_minor}
	if now := fmt.Sprintf("file:%s:%d", dev, st.Ino); now != id {
		return "", "", failure.Refuse(path, "was replaced by another file while it was opened", "try again")
	}
	identity = fmt.Sprintf("file:%d", st.Ino)
	if st.Mask&unix.STATX_BTIME != 0 {
		identity += " made " + timestamp(st.Btime)
	}
	return identity, "changed " + timestamp(st.Mtime), nil
}

// timestamp is in seconds.
func timestamp(t unix.StatxTimestamp) string { return fmt.Sprintf("%d.%09d", t.Sec, t.Nsec) }
