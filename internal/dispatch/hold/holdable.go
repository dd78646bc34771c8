package hold

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/remap"
)

var (
	// errRequests: the throttle of the leaf does not see what comes down. dm
	// devices of requests (multipath, as a rule) clone them into the queue of
	// the leaf behind its throttle, which is for bios (block/blk-mq.c,
	// blk_insert_cloned_request). They are those with hardware queues
	// (block/blk-mq-sysfs.c).
	errRequests = errors.New("hands on requests, which pass the throttle")
	// errArrays: md counts an I/O only until it is handed down.
	errArrays = errors.New("is an md array, which waits for I/O in flight only since Linux 6.12")
)

// arraysWait is the first kernel that is known to keep an array as it is while
// I/O is in flight at its members: each bio holds active_io to its end (6.12,
// drivers/md/md.c, md_account_bio and md_end_clone_io). 6.1 gives it back when
// the bio is handed down (md_handle_request), and was seen to change the level.
var arraysWait = version{6, 12}

// version is the beginning of a kernel's release.
type version struct{ major, minor int }

func (v version) before(w version) bool {
	return v.major < w.major || v.major == w.major && v.minor < w.minor
}

// running is the version of this kernel, or the oldest of all if its release
// does not begin with one.
func running() version {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return version{}
	}
	return parseVersion(unix.ByteSliceToString(u.Release[:]))
}

func parseVersion(release string) version {
	var v version
	if n, err := fmt.Sscanf(release, "%d.%d", &v.major, &v.minor); err != nil || n != 2 {
		return version{}
	}
	return v
}

// holdable finds devices below which no read can be kept in flight, or which do
// not wait for one.
func (a *Anchor) holdable(chains []Chain) error {
	for _, c := range chains {
		for _, node := range c.Nodes {
			if err := a.kernel.waitsForReads(node); err != nil {
				return fmt.Errorf("%s %w", node, err)
			}
		}
	}
	return nil
}

func (s *system) waitsForReads(node remap.Dev) error {
	d := s.machine.Block(node)
	requests, err := d.Has("mq")
	if err == nil && requests {
		return errRequests
	}
	array, err2 := d.Has("md")
	if err2 == nil && array && s.version.before(arraysWait) {
		return errArrays
	}
	return errors.Join(err, err2)
}
