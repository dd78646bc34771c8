package layout_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/dmtable"
	"github.com/dmcopy/dmcopy/dmtable/dmtest"
	"github.com/dmcopy/dmcopy/internal/layout"
	"github.com/dmcopy/dmcopy/internal/sysblock/sysblocktest"
	"github.com/dmcopy/dmcopy/remap"
)

// thinRig is a pool of LVM with two volumes on a disk.
type thinRig struct {
	*rig
	pool  *pool
	state string
}

var poolUUID = lvmUUID + "-tpool"

func newThinRig(t testing.TB) *thinRig {
	t.Helper()
	m := sysblocktest.New(t)
	m.NVMe(0, 1, "259:0", 1<<20)
	m.Mapped("dm-3", "253:3", "meta", poolBlocks*8, "nvme0n1")
	m.Mapped("dm-4", "253:4", "data", poolData*poolBlockLen, "nvme0n1")
	m.Mapped("dm-5", "253:5", "pool", poolData*poolBlockLen, "dm-3", "dm-4")
	m.Mapped("dm-6", "253:6", "thin1", 1280, "dm-5")
	m.Mapped("dm-7", "253:7", "thin2", 1280, "dm-5")
	setDisk(t, m, "dm-6", nil)
	setDisk(t, m, "dm-7", nil)
	r := &thinRig{
		rig: &rig{Machine: m, kernel: dmtest.New(
			mapped(m.Dev("dm-3"), "meta", "", "0 512 linear 259:0 2048"),
			mapped(m.Dev("dm-4"), "data", "", "0 25600 linear 259:0 8192"),
		)},
		pool: newPool(t, m, "dm-3"), state: filepath.Join(t.TempDir(), "a", "state"),
	}
	r.pool.volumes = map[uint64]map[uint64]uint64{1: {0: 100, 1: 101, 5: 7}, 2: {0: 3, 9: 4}}
	r.pool.shared[2] = true
	r.pool.commit(0, 2)
	r.setPool(r.pool.status())
	for i, dev := range []string{"dm-6", "dm-7"} {
		d := mapped(m.Dev(dev), fmt.Sprintf("thin%d", i+1), "", fmt.Sprintf("0 1280 thin 253:5 %d", i+1))
		d.Status = []string{"384 1279"}
		r.kernel.Set(d)
	}
	r.reader = r.newReader(t)
	return r
}

// setPool shows a status of the pool.
func (r *thinRig) setPool(status string, flags ...uint32) {
	d := mapped(r.Dev("dm-5"), "pool", poolUUID, "0 25600 thin-pool 253:3 253:4 128 0 0 ")
	d.Status, d.Message = []string{status}, r.pool.message
	for _, flag := range flags {
		d.Flags |= flag
	}
	r.kernel.Set(d)
}

// newReader is a Reader of its own, as another process would have it.
func (r *thinRig) newReader(t testing.TB) *layout.Reader {
	t.Helper()
	reader := layout.NewReader(layout.Options{
		FS: r.FS(), DM: dmtable.New(r.kernel), TakeMetadataSnaps: true, State: r.state, Log: slog.New(slog.DiscardHandler),
	})
	t.Cleanup(func() { _ = reader.Close() })
	return reader
}

// note is what is written down about the pool, "" for nothing.
func (r *thinRig) note(t testing.TB) string {
	t.Helper()
	text, err := os.ReadFile(r.notePath())
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return string(text)
}

func (r *thinRig) notePath() string { return filepath.Join(r.state, "root-"+poolUUID) }

func (r *thinRig) setNote(t testing.TB, text string) {
	t.Helper()
	if err := os.MkdirAll(r.state, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(r.notePath(), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// sent fails unless so many metadata snapshots were taken and given back.
func (r *thinRig) sent(t testing.TB, reserved, released int) {
	t.Helper()
	if a, b := r.pool.said("reserve"), r.pool.said("release"); a != reserved || b != released || len(r.pool.messages) != a+b {
		t.Errorf("messages %q, want %d times reserve and %d times release", r.pool.messages, reserved, released)
	}
}

func (r *thinRig) close(t testing.TB) {
	t.Helper()
	if err := r.reader.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
}

const thinUnread = "layer:thin-unread"

// open fails unless both volumes are mapped.
func (r *thinRig) open(t testing.TB, s *layout.Snapshot) {
	t.Helper()
	want := []string{
		"0 +256 data 259:0:20992  [dm:thin dm:thin-pool dm:linear]",
		"256 +384 zero 253:6:256  [dm:thin]",
		"640 +128 data 259:0:9088  [dm:thin dm:thin-pool dm:linear]",
		"768 +512 zero 253:6:768  [dm:thin]",
	}
	if got := r.reads(t, s, "dm-6"); !slices.Equal(got, want) {
		t.Errorf("got %q\nwant %q, %s", got, want, problems(t, s, "dm-6"))
	}
	for _, dev := range []string{"dm-5", "dm-6", "dm-7"} {
		if p := problems(t, s, dev); p != "" {
			t.Errorf("%s: %s", dev, p)
		}
	}
}

func TestThin(t *testing.T) {
	r := newThinRig(t)
	s := r.read(t)
	r.open(t, s)
	st := stackOf(t, s)
	want := []string{
		"0 +256 data 259:0:20992  [dm:thin dm:thin-pool dm:linear]",
		"256 +384 opaque 253:6:256 layer:thin-unmapped [dm:thin]",
		"640 +128 data 259:0:9088  [dm:thin dm:thin-pool dm:linear]",
		"768 +512 opaque 253:6:768 layer:thin-unmapped [dm:thin]",
	}
	if got := resolve(t, st, r.Dev("dm-6"), remap.Write); !slices.Equal(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
	want = []string{
		"0 +128 opaque 253:7:0 layer:thin-shared [dm:thin]",
		"128 +1024 opaque 253:7:128 layer:thin-unmapped [dm:thin]",
		"1152 +128 opaque 253:7:1152 layer:thin-shared [dm:thin]",
	}
	if got := resolve(t, st, r.Dev("dm-7"), remap.Write); !slices.Equal(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
	if !st.Node(r.Dev("dm-6")).Locked || st.Node(r.Dev("dm-5")).Locked {
		t.Error("thin volumes are locked, the pool is not")
	}
	r.changed(t, st, "")
	r.sent(t, 1, 0)
	r.close(t)
	r.sent(t, 1, 1)
}

// One metadata snapshot serves all volumes of a pool and all Reads, until Close.
func TestRootIsKept(t *testing.T) {
	r := newThinRig(t)
	r.open(t, r.read(t))
	first := r.note(t)
	if want := fmt.Sprintf(`{"pool":%q,"root":40}`, poolUUID); first != want {
		t.Errorf("note %s, want %s", first, want)
	}
	st := stackOf(t, r.read(t))
	for range 3 {
		r.open(t, r.read(t, "dm-6", "dm-7"))
	}
	r.changed(t, st, "")
	r.sent(t, 1, 0)
	if r.note(t) != first {
		t.Errorf("note %s", r.note(t))
	}
	r.close(t)
	r.sent(t, 1, 1)
	if r.note(t) != "" || r.pool.held != 0 {
		t.Errorf("note %q, root %d", r.note(t), r.pool.held)
	}
	r.close(t) // twice does no harm
	r.sent(t, 1, 1)
	r.open(t, r.read(t)) // nor does going on
	r.close(t)
	r.sent(t, 2, 2)
}

// A volume that gains blocks is the one of the metadata snapshot until another
// one is taken.
func TestThinGrows(t *testing.T) {
	r := newThinRig(t)
	st := stackOf(t, r.read(t))
	r.pool.volumes[1][2] = 50
	r.pool.commit(0, 2)
	d := mapped(r.Dev("dm-6"), "thin1", "", "0 1280 thin 253:5 1")
	d.Status = []string{"512 1279"}
	r.kernel.Set(d)
	r.changed(t, st, "")
	r.open(t, r.read(t))
	r.close(t)
	got := r.reads(t, r.read(t), "dm-6")
	if len(got) != 5 || got[1] != "256 +128 data 259:0:14592  [dm:thin dm:thin-pool dm:linear]" {
		t.Errorf("%q", got)
	}
}

// In a later transaction blocks may be shared that the metadata snapshot shows as
// not shared: another one is taken.
func TestRootFollowsTransaction(t *testing.T) {
	r := newThinRig(t)
	r.open(t, r.read(t))
	r.sent(t, 1, 0)
	r.pool.transaction++
	r.pool.super(0, 2)
	r.setPool(r.pool.status())
	r.open(t, r.read(t))
	r.sent(t, 2, 1)
	r.close(t)
	r.sent(t, 2, 2)
}

// Renew gives the metadata snapshot back, and the next one shows what was written
// since.
func TestRenew(t *testing.T) {
	r := newThinRig(t)
	r.open(t, r.read(t))
	r.pool.volumes[1][2] = 50
	r.pool.commit(0, 2)
	if err := r.reader.Renew(); err != nil {
		t.Fatal(err)
	}
	r.sent(t, 1, 1)
	if got := r.reads(t, r.read(t), "dm-6"); len(got) != 5 {
		t.Errorf("%q", got)
	}
	r.sent(t, 2, 1)
	r.close(t)
	r.sent(t, 2, 2)
}

// Without leave to, no message is ever sent and nothing written down.
func TestNoRoots(t *testing.T) {
	r := newThinRig(t)
	r.reader = layout.NewReader(layout.Options{FS: r.FS(), DM: dmtable.New(r.kernel), State: r.state})
	s := r.read(t)
	closed(t, s, "thin1", thinUnread, "")
	closed(t, s, "thin2", thinUnread, "")
	r.changed(t, stackOf(t, s), "")
	r.close(t)
	r.sent(t, 0, 0)
	if _, err := os.Stat(r.state); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

// What a dead process has left is given back, if its note names it.
func TestLeftRoot(t *testing.T) {
	r := newThinRig(t)
	r.pool.reserve()
	setDisk(t, r.Machine, "dm-3", r.pool.b)
	r.setPool(r.pool.status())
	r.setNote(t, fmt.Sprintf(`{"pool":%q,"root":40}`, poolUUID))
	r.open(t, r.read(t))
	if want := []string{"release_metadata_snap", "reserve_metadata_snap"}; !slices.Equal(r.pool.messages, want) {
		t.Errorf("%q", r.pool.messages)
	}
	if want := fmt.Sprintf(`{"pool":%q,"root":41}`, poolUUID); r.note(t) != want {
		t.Errorf("note %s, want %s", r.note(t), want)
	}
	r.close(t)
}

// What is not provably ours is not touched.
// TestUnsafeNotes: what others could have written decides nothing about a pool.
func TestUnsafeNotes(t *testing.T) {
	ours := fmt.Sprintf(`{"pool":%q,"root":40}`, poolUUID)
	for what, prepare := range map[string]func(r *thinRig) error{
		"directory of all":   func(r *thinRig) error { return os.Chmod(r.state, 0o777) },
		"sticky directory":   func(r *thinRig) error { return os.Chmod(r.state, 0o777|os.ModeSticky) },
		"directory of group": func(r *thinRig) error { return os.Chmod(r.state, 0o770) },
		"no directory":       func(r *thinRig) error { return errors.Join(os.RemoveAll(r.state), os.WriteFile(r.state, nil, 0o600)) },
		"note of all":        func(r *thinRig) error { return os.Chmod(r.notePath(), 0o666) },
		"link": func(r *thinRig) error {
			return errors.Join(os.Rename(r.notePath(), r.state+"-note"), os.Symlink(r.state+"-note", r.notePath()))
		},
		"pipe": func(r *thinRig) error {
			return errors.Join(os.Remove(r.notePath()), unix.Mkfifo(r.notePath(), 0o600))
		},
		"directory in its place": func(r *thinRig) error { return errors.Join(os.Remove(r.notePath()), os.Mkdir(r.notePath(), 0o700)) },
	} {
		r := newThinRig(t)
		r.pool.held = 40
		r.setPool(r.pool.status())
		r.setNote(t, ours)
		if err := prepare(r); err != nil {
			t.Fatal(err)
		}
		s := r.read(t)
		closed(t, s, "thin1", thinUnread, r.state)
		r.close(t)
		if r.sent(t, 0, 0); r.pool.held != 40 {
			t.Errorf("%s: root %d", what, r.pool.held)
		}
	}
}

// TestNamesOfNotes: whatever a pool is called, its note is a file of the directory.
func TestNamesOfNotes(t *testing.T) {
	for _, uuid := range []string{"..", "../../etc/passwd", "/", "a/b", "%2F", "."} {
		if name := layout.NoteName(uuid); name != filepath.Base(name) || !strings.HasPrefix(name, "root-") {
			t.Errorf("%q: %q", uuid, name)
		}
	}
	if layout.NoteName("a/b") == layout.NoteName("a%2Fb") {
		t.Error("two pools with one note")
	}
}

func TestForeignRoot(t *testing.T) {
	for what, note := range map[string]string{
		"no note": "", "another root": fmt.Sprintf(`{"pool":%q,"root":39}`, poolUUID), "another pool": `{"pool":"other","root":40}`,
		"not yet taken": fmt.Sprintf(`{"pool":%q,"root":0}`, poolUUID), "cut short": fmt.Sprintf(`{"pool":%q,"root":40`, poolUUID),
		"no JSON": "40", "too long": strings.Repeat(" ", 1024) + fmt.Sprintf(`{"pool":%q,"root":40}`, poolUUID),
		"negative": fmt.Sprintf(`{"pool":%q,"root":-40}`, poolUUID),
	} {
		r := newThinRig(t)
		r.pool.held = 40
		r.setPool(r.pool.status())
		if note != "" {
			r.setNote(t, note)
		}
		s := r.read(t)
		closed(t, s, "thin1", thinUnread, "belongs to another program (block 40)")
		closed(t, s, "thin2", thinUnread, "release_metadata_snap")
		r.changed(t, stackOf(t, s), "")
		r.close(t)
		r.sent(t, 0, 0)
		if r.pool.held != 40 || r.note(t) != note {
			t.Errorf("%s: root %d, note %q", what, r.pool.held, r.note(t))
		}
		// Once it is released, the next Read takes its own.
		r.reader = r.newReader(t)
		r.pool.held = 0
		r.setPool(r.pool.status())
		r.open(t, r.read(t))
		r.close(t)
	}
}

// Of two readers, the second is told that the first has the pool.
func TestTwoReaders(t *testing.T) {
	r := newThinRig(t)
	first := r.reader
	r.open(t, r.read(t))
	r.reader = r.newReader(t)
	closed(t, r.read(t), "thin1", thinUnread, "another dmcopy holds it")
	r.close(t) // gives nothing back
	r.sent(t, 1, 0)
	r.reader = first
	r.open(t, r.read(t))
	r.close(t)
	r.reader = r.newReader(t)
	r.open(t, r.read(t))
	r.sent(t, 2, 1)
}

// A pool that does not give a metadata snapshot leaves its volumes opaque.
func TestReserveFails(t *testing.T) {
	for _, errno := range []unix.Errno{unix.EBUSY, unix.EOPNOTSUPP, unix.ENOMEM} {
		r := newThinRig(t)
		r.pool.refuse = errno
		s := r.read(t)
		closed(t, s, "thin1", thinUnread, errno.Error())
		if strings.Contains(problems(t, s, "thin1"), "belongs to another program") != (errno == unix.EBUSY) {
			t.Errorf("%v: %s", errno, problems(t, s, "thin1"))
		}
		r.sent(t, 1, 0)
		if r.note(t) != "" {
			t.Errorf("%v: note %s", errno, r.note(t))
		}
		r.pool.refuse = nil
		r.open(t, r.read(t))
		r.close(t)
	}
}

// Pools that have failed are not trusted, and not sent anything.
func TestPoolInTrouble(t *testing.T) {
	for status, why := range map[string]string{
		"9 10/64 5/200 - rw discard_passdown queue_if_no_space needs_check 1024 ": "needs a check",
		"Fail":  `status of thin-pool: "Fail"`,
		"Error": `status of thin-pool: "Error"`,
		"":      `status of thin-pool: ""`,
	} {
		r := newThinRig(t)
		r.setPool(status)
		s := r.read(t)
		closed(t, s, "thin1", thinUnread, why)
		r.close(t)
		r.sent(t, 0, 0)
	}
	r := newThinRig(t)
	r.pool.flags = 1 // needs_check in the superblock, which the status does not tell yet
	r.pool.commit(0, 2)
	closed(t, r.read(t), "thin1", thinUnread, "needs a check")
}

// A pool that waits for somebody would have us wait with it.
func TestPoolSuspended(t *testing.T) {
	r := newThinRig(t)
	r.setPool(r.pool.status(), unix.DM_SUSPEND_FLAG)
	closed(t, r.read(t), "thin1", thinUnread, `"dm-5" (253:5) is suspended`)
	r.setPool(r.pool.status())
	for name, d := range map[string]dmtest.Device{
		"dm-3": mapped(r.Dev("dm-3"), "meta", "", "0 512 linear 259:0 2048"), // what it commits goes there
		"dm-4": mapped(r.Dev("dm-4"), "data", "", "0 25600 linear 259:0 8192"),
		"dm-7": mapped(r.Dev("dm-7"), "thin2", "", "0 1280 thin 253:5 2"), // its page cache is written before
	} {
		r := newThinRig(t)
		d.Flags |= unix.DM_SUSPEND_FLAG
		d.Status = []string{"384 1279"}
		r.kernel.Set(d)
		closed(t, r.read(t), "thin1", thinUnread, fmt.Sprintf("%q (%s) is suspended", name, d.Dev))
		r.sent(t, 0, 0)
	}
	r.sent(t, 0, 0)
}

// The metadata say something else than the pool: nothing is mapped.
func TestThinBroken(t *testing.T) {
	for _, test := range map[string]struct {
		change func(p *pool)
		why    string
	}{
		"checksum":     {func(p *pool) { p.b[100] ^= 1 }, "checksum"},
		"another pool": {func(p *pool) { clear(p.b) }, "checksum"},
		"cut short":    {func(p *pool) { p.b = p.b[:4096] }, "unexpected EOF"},
	} {
		r := newThinRig(t)
		d := mapped(r.Dev("dm-5"), "pool", poolUUID, "0 25600 thin-pool 253:3 253:4 128 0 0 ")
		d.Status = []string{r.pool.status()}
		d.Message = func(d *dmtest.Device, text string) error {
			err := r.pool.message(d, text)
			b := slices.Clone(r.pool.b)
			test.change(r.pool)
			setDisk(t, r.Machine, "dm-3", r.pool.b)
			r.pool.b = b
			return err
		}
		r.kernel.Set(d)
		s := r.read(t)
		closed(t, s, "thin1", thinUnread, test.why)
		r.close(t)
		r.sent(t, 1, 1)
	}
	r := newThinRig(t)
	delete(r.pool.volumes, 2)
	r.pool.commit(0, 2)
	s := r.read(t)
	closed(t, s, "thin2", thinUnread, "no such thin device")
	if got := r.reads(t, s, "dm-6"); len(got) != 4 || problems(t, s, "dm-6") != "" {
		t.Errorf("%q %s", got, problems(t, s, "dm-6"))
	}
}

// Somebody releases our metadata snapshot: the layout has changed, and the next
// Read takes another one, or finds that there is one of somebody else.
func TestRootReleasedByOthers(t *testing.T) {
	r := newThinRig(t)
	st := stackOf(t, r.read(t))
	r.pool.held = 0
	r.pool.super(0, 2)
	setDisk(t, r.Machine, "dm-3", r.pool.b)
	r.setPool(r.pool.status())
	r.changed(t, st, "layout changed", "pool")
	again := r.read(t)
	r.open(t, again)
	r.changed(t, stackOf(t, again), "")
	r.sent(t, 2, 0)
	if want := fmt.Sprintf(`{"pool":%q,"root":41}`, poolUUID); r.note(t) != want {
		t.Errorf("note %s", r.note(t))
	}
	r.pool.reserve() // released, and taken by somebody else
	setDisk(t, r.Machine, "dm-3", r.pool.b)
	r.setPool(r.pool.status())
	r.changed(t, stackOf(t, again), "layout changed", "pool")
	closed(t, r.read(t), "thin1", thinUnread, "belongs to another program (block 42)")
	r.close(t)
	r.sent(t, 2, 0)
	if r.pool.held != 42 {
		t.Errorf("root %d", r.pool.held)
	}
}

// Close leaves alone what is not ours any more.
func TestCloseAfterRelease(t *testing.T) {
	for what, held := range map[string]uint64{"released": 0, "taken by others": 55} {
		r := newThinRig(t)
		r.read(t)
		r.pool.held = held
		r.setPool(r.pool.status())
		r.close(t)
		r.sent(t, 1, 0)
		if r.note(t) != "" || r.pool.held != held {
			t.Errorf("%s: note %q, root %d", what, r.note(t), r.pool.held)
		}
	}
}

// A pool that is deactivated keeps its metadata snapshot on disk. It is given
// back when the pool is there again.
func TestPoolAway(t *testing.T) {
	r := newThinRig(t)
	r.read(t)
	r.kernel.Remove(r.Dev("dm-5"))
	r.close(t)
	r.sent(t, 1, 0)
	if want := fmt.Sprintf(`{"pool":%q,"root":40}`, poolUUID); r.note(t) != want {
		t.Errorf("note %q", r.note(t))
	}
	r.setPool(r.pool.status())
	r.reader = r.newReader(t)
	r.open(t, r.read(t))
	r.sent(t, 2, 1)
}

// Another pool that gets the number of ours has nothing of ours, not even if
// somebody holds the same block of it.
func TestAnotherPool(t *testing.T) {
	other := func(r *thinRig) {
		d := mapped(r.Dev("dm-5"), "other", strings.ToUpper(poolUUID), "0 25600 thin-pool 253:3 253:4 128 0 0 ")
		d.Status, d.Message = []string{r.pool.status()}, r.pool.message
		r.kernel.Set(d)
	}
	r := newThinRig(t)
	r.read(t)
	other(r)
	closed(t, r.read(t), "thin1", thinUnread, "belongs to another program (block 40)")
	r.close(t)
	r.sent(t, 1, 0)

	r = newThinRig(t)
	r.read(t)
	other(r)
	r.close(t)
	r.sent(t, 1, 0)
	if r.note(t) == "" || r.pool.held != 40 {
		t.Errorf("note %q, root %d", r.note(t), r.pool.held)
	}
}

// A metadata snapshot that cannot be written down is given back at once.
func TestRootNotNoted(t *testing.T) {
	r := newThinRig(t)
	d := mapped(r.Dev("dm-5"), "pool", poolUUID, "0 25600 thin-pool 253:3 253:4 128 0 0 ")
	d.Status = []string{r.pool.status()}
	d.Message = func(d *dmtest.Device, text string) error {
		err := r.pool.message(d, text)
		if text == "reserve_metadata_snap" {
			d.Status = []string{"?"}
		}
		return err
	}
	r.kernel.Set(d)
	closed(t, r.read(t), "thin1", thinUnread, "status of thin-pool")
	r.sent(t, 1, 1)
	r.setPool(r.pool.status())
	r.open(t, r.read(t))
}

// The directory cannot be written: nothing is taken.
func TestNoState(t *testing.T) {
	r := newThinRig(t)
	if err := os.WriteFile(filepath.Dir(r.state), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	closed(t, r.read(t), "thin1", thinUnread, "not a directory")
	r.sent(t, 0, 0)
	r = newThinRig(t)
	r.setNote(t, "")
	if err := os.Remove(r.notePath()); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/dev/null", r.notePath()); err != nil {
		t.Fatal(err)
	}
	closed(t, r.read(t), "thin1", thinUnread, "too many levels of symbolic links")
	r.sent(t, 0, 0)
}

// Names of pools are no paths.
func TestNotesStayInState(t *testing.T) {
	r := newThinRig(t)
	d := mapped(r.Dev("dm-5"), "pool", "../../x/../ \x01y%", "0 25600 thin-pool 253:3 253:4 128 0 0 ")
	d.Status, d.Message = []string{r.pool.status()}, r.pool.message
	r.kernel.Set(d)
	r.open(t, r.read(t))
	files, err := os.ReadDir(r.state)
	if err != nil || len(files) != 1 || files[0].Name() != "root-..%2F..%2Fx%2F..%2F \x01y%25" {
		t.Errorf("%v, %v", files, err)
	}
	r.close(t)
}

// Of an external origin the size counts; it is not that of the volume.
func TestExternalOrigin(t *testing.T) {
	r := newThinRig(t)
	r.Mapped("dm-8", "253:8", "ext", 400, "nvme0n1")
	r.kernel.Set(mapped(r.Dev("dm-8"), "ext", "", "0 400 linear 259:0 900000"))
	r.Hold("dm-6", "dm-8")
	d := mapped(r.Dev("dm-6"), "thin1", "", "0 1280 thin 253:5 1 253:8")
	d.Status = []string{"384 1279"}
	r.kernel.Set(d)
	want := []string{
		"0 +256 data 259:0:20992  [dm:thin dm:thin-pool dm:linear]",
		"256 +144 data 259:0:900256  [dm:thin dm:linear]",
		"400 +240 zero 253:6:400  [dm:thin]",
	}
	if got := r.reads(t, r.read(t), "dm-6"); !slices.Equal(got[:3], want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
}

func TestChangesOfPool(t *testing.T) {
	r := newThinRig(t)
	st := stackOf(t, r.read(t))
	const rest = "rw discard_passdown queue_if_no_space - 1024 "
	for status, want := range map[string]string{
		"9 60/64 199/200 40 " + rest: "", "10 10/64 5/200 40 " + rest: "layout changed", "9 10/64 5/200 41 " + rest: "layout changed",
		"9 10/64 5/200 - " + rest: "layout changed", "Fail": "layout changed",
		"9 10/64 5/200 40 ro discard_passdown queue_if_no_space - 1024 ":                  "layout changed",
		"9 10/64 5/200 40 rw discard_passdown queue_if_no_space needs_check 1024 ":        "layout changed",
		"9 10/64 200/200 40 out_of_data_space discard_passdown queue_if_no_space - 1024 ": "",
	} {
		r.setPool(status)
		r.changed(t, st, want, "pool")
	}
	r.setPool("9 10/64 5/200 40 "+rest, unix.DM_SUSPEND_FLAG)
	r.changed(t, st, "suspended", "pool")
	r.setPool("9 10/64 5/200 40 " + rest)
	for _, test := range []struct{ status, want string }{{"9999 1279", ""}, {"0 -", ""}, {"Fail", "layout changed"}} {
		d := mapped(r.Dev("dm-6"), "thin1", "", "0 1280 thin 253:5 1")
		d.Status = []string{test.status}
		r.kernel.Set(d)
		r.changed(t, st, test.want, "thin1")
	}
}

// childState tells the child of TestKilledWithRoot where its state directory is.
const childState = "DMCOPY_TEST_STATE"

// TestHoldsRootUntilKilled is the process that is killed; on its own it does nothing.
func TestHoldsRootUntilKilled(t *testing.T) {
	state := os.Getenv(childState)
	if state == "" {
		return
	}
	r := newThinRig(t)
	r.state = state
	r.reader = r.newReader(t)
	r.open(t, r.read(t))
	fmt.Println("held")
	// Without anything to wait for, the runtime would end a process of which all goroutines sleep.
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
		t.Error(err)
	}
}

// A process that is killed leaves its root and a note, but no lock.
func TestKilledWithRoot(t *testing.T) {
	r := newThinRig(t)
	child := exec.Command(os.Args[0], "-test.run=^TestHoldsRootUntilKilled$")
	child.Env = append(os.Environ(), childState+"="+r.state)
	if _, err := child.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() && lines.Text() != "held" {
	}
	if lines.Text() != "held" {
		t.Fatalf("the child has ended: %v", lines.Err())
	}
	// The pool of the child, as its kernel shows it.
	r.pool.reserve()
	setDisk(t, r.Machine, "dm-3", r.pool.b)
	r.setPool(r.pool.status())
	closed(t, r.read(t), "thin1", thinUnread, "another dmcopy holds it")
	r.sent(t, 0, 0)
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := child.Wait(); err == nil {
		t.Error("the child was not killed")
	}
	r.open(t, r.read(t))
	r.sent(t, 1, 1)
	r.close(t)
	r.sent(t, 1, 2)
}

// Two Reads of one Reader at a time share a root.
func TestConcurrentReads(t *testing.T) {
	r := newThinRig(t)
	errs := make(chan error)
	for range 4 {
		go func() {
			_, err := r.reader.Read(context.Background())
			errs <- err
		}()
	}
	for range 4 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	r.sent(t, 1, 0)
	r.close(t)
	r.sent(t, 1, 1)
}

// TestRooms: what is left of the pool of a volume, and how much the volume lacks.
func TestRooms(t *testing.T) {
	r := newThinRig(t)
	rooms, err := r.reader.PoolSpaces(r.Dev("dm-6"))
	status, statusErr := dmtable.ParsePoolStatus(r.pool.status())
	if err != nil || statusErr != nil || len(rooms) != 1 {
		t.Fatal(rooms, err, statusErr)
	}
	want := layout.PoolSpace{Pool: "pool", Block: 128, Free: remap.Sector(status.DataBlocks-status.UsedBlocks) * 128, Total: poolData * 128, Unmapped: 1280 - 384}
	if rooms[0] != want || want.Free == want.Total {
		t.Errorf("%+v, want %+v", rooms[0], want)
	}
	if rooms, err := r.reader.PoolSpaces(r.Dev("dm-4")); err != nil || len(rooms) > 0 {
		t.Errorf("of the pool's own: %+v, %v", rooms, err)
	}
}
