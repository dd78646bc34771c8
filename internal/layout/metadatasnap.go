package layout

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/dmtable"
	"github.com/dmcopy/dmcopy/internal/durable"
	"github.com/dmcopy/dmcopy/remap"
)

// A thin pool can keep one snapshot of its metadata (dm-thin.c,
// process_reserve_metadata_snap_mesg). As long as it is there, no data block that
// it maps is given to another volume. Somebody else may have taken it, and then
// it is not touched. Who took it is written down before and after, so that one
// that was left behind by a crash is given back, and nobody's else.

// errMetadataSnapHeld: the pool's metadata snapshot belongs to somebody else.
var errMetadataSnapHeld = errors.New("the metadata snapshot of the pool belongs to another program")

// errUnsafe: others could write to where it is noted which metadata snapshots are ours.
var errUnsafe = errors.New("dmcopy cannot safely record metadata snapshots there")

// heldRoot is a metadata snapshot of ours.
type heldRoot struct {
	dm   *dmtable.Control
	pool remap.Dev
	// id is that of the pool: another one may get its number.
	id   string
	root uint64
	// transaction is that of the pool before the metadata snapshot was taken.
	// In a later one, blocks may be shared that it shows as not shared.
	transaction uint64
	note        *os.File
}

// rootNote is what is written down, in a file of the pool that its owner keeps
// locked: a lock dies with its owner.
type rootNote struct {
	Pool string `json:"pool"`
	// Root is the block of the metadata snapshot, 0 while it is being taken.
	Root uint64 `json:"root"`
}

// Messages to a pool (dm-thin.c, pool_message).
const (
	reserveRoot = "reserve_metadata_snap"
	releaseRoot = "release_metadata_snap"
)

// errAnotherPool: the number of the pool belongs to another device by now.
var errAnotherPool = errors.New("not the pool any more")

// maxNote bounds the file, in bytes.
const maxNote = 1024

// holdRoot takes a metadata snapshot of the pool. One that a dead process of
// ours has left behind is given back first.
func holdRoot(dm *dmtable.Control, dir string, pool *dmtable.Table) (*heldRoot, error) {
	note, err := openNote(dir, pool)
	if err != nil {
		return nil, err
	}
	h := &heldRoot{dm: dm, pool: pool.Dev, id: poolID(pool), note: note}
	if err := h.take(); err != nil {
		return nil, errors.Join(err, note.Close())
	}
	return h, nil
}

// poolID is the most durable name of a pool.
func poolID(pool *dmtable.Table) string {
	if pool.UUID != "" {
		return pool.UUID
	}
	return pool.Name
}

// fileName keeps slashes out of a file name: the kernel takes any uuid.
var fileName = strings.NewReplacer("%", "%25", "/", "%2F")

func noteName(pool string) string { return "root-" + fileName.Replace(pool) }

// openNote opens and locks the file of the pool.
func openNote(dir string, pool *dmtable.Table) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	if err := checkOwner(dir, unix.S_IFDIR); err != nil {
		return nil, err
	}
	path := filepath.Join(dir, noteName(poolID(pool)))
	// A pipe would wait, and is refused then.
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o600)
	if err != nil {
		return nil, err
	}
	if err := checkOwner(path, unix.S_IFREG); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = fmt.Errorf("%w: another dmcopy holds it", errMetadataSnapHeld)
		}
		return nil, errors.Join(&Error{pool.Name, err}, f.Close())
	}
	return f, nil
}

// checkOwner refuses a directory, or a file, that somebody else could have written to: what
// is noted there is sent to a pool. Once the directory is ours, nobody else can swap
// what is in it.
func checkOwner(path string, kind uint32) error {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return &Error{path, err}
	}
	switch {
	case st.Mode&unix.S_IFMT != kind:
		return &Error{path, fmt.Errorf("%w: it is neither a regular file nor a directory", errUnsafe)}
	case int(st.Uid) != os.Geteuid():
		return &Error{path, fmt.Errorf("%w: it belongs to user %d", errUnsafe, st.Uid)}
	case st.Mode&0o022 != 0:
		return &Error{path, fmt.Errorf("%w: other users may write to it", errUnsafe)}
	}
	return nil
}

func (h *heldRoot) take() error {
	now, err := h.current()
	if err != nil {
		return err
	}
	if now.HeldRoot != 0 {
		if err := h.releaseLeftover(now.HeldRoot); err != nil {
			return err
		}
	}
	h.transaction = now.Transaction
	if err := h.write(rootNote{Pool: h.id}); err != nil {
		return err
	}
	if err := h.dm.Message(h.pool, reserveRoot); err != nil {
		if errors.Is(err, unix.EBUSY) {
			err = errors.Join(errMetadataSnapHeld, err)
		}
		return errors.Join(err, h.forget())
	}
	if err := h.noteTaken(); err != nil {
		// It is ours, and what is written down does not tell so.
		return errors.Join(err, h.dm.Message(h.pool, releaseRoot))
	}
	return nil
}

// noteTaken writes down what was just taken.
func (h *heldRoot) noteTaken() error {
	now, err := h.current()
	if err != nil {
		return err
	}
	if h.root = now.HeldRoot; h.root == 0 {
		return &Error{h.id, fmt.Errorf("%w: the metadata snapshot is gone", ErrRace)}
	}
	return h.write(rootNote{Pool: h.id, Root: h.root})
}

// releaseLeftover releases a metadata snapshot that a dead process of ours took.
func (h *heldRoot) releaseLeftover(held uint64) error {
	note, err := h.read()
	if err != nil {
		return err
	}
	if note.Pool != h.id || note.Root != held {
		return &Error{h.id, fmt.Errorf("%w (block %d): if no program uses it any more, release it (dmsetup message -j %d -m %d 0 release_metadata_snap)", errMetadataSnapHeld, held, h.pool.Major, h.pool.Minor)}
	}
	return h.dm.Message(h.pool, releaseRoot)
}

// current asks the pool for its status.
func (h *heldRoot) current() (dmtable.PoolStatus, error) {
	t, err := h.dm.Table(h.pool)
	if err != nil {
		return dmtable.PoolStatus{}, err
	}
	if _, ok := t.Pool(); !ok || poolID(t) != h.id {
		return dmtable.PoolStatus{}, &Error{h.id, fmt.Errorf("%w: %w", ErrRace, errAnotherPool)}
	}
	return dmtable.ParsePoolStatus(t.Targets[0].Status)
}

// release gives the metadata snapshot back, unless somebody else did so before.
// That of a pool that is inactive is still in its metadata, and stays written
// down for whoever meets the pool next.
func (h *heldRoot) release() error {
	now, err := h.current()
	if err == nil && now.HeldRoot == h.root {
		err = h.dm.Message(h.pool, releaseRoot)
	}
	if err == nil {
		err = h.forget()
	}
	if errors.Is(err, dmtable.ErrNoDevice) || errors.Is(err, errAnotherPool) {
		err = nil
	}
	return errors.Join(err, h.note.Close())
}

// read reads the file; an empty one, or one that is cut short, says nothing.
func (h *heldRoot) read() (rootNote, error) {
	text, err := io.ReadAll(io.NewSectionReader(h.note, 0, maxNote))
	if err != nil {
		return rootNote{}, err
	}
	var note rootNote
	if json.Unmarshal(text, &note) != nil {
		return rootNote{}, nil
	}
	return note, nil
}

// write replaces the file and makes it durable, together with its name and that of its directory.
func (h *heldRoot) write(note rootNote) error {
	text, err := json.Marshal(note)
	if err != nil {
		return err
	}
	if err := h.forget(); err != nil {
		return err
	}
	if _, err := h.note.WriteAt(text, 0); err != nil {
		return err
	}
	dir := filepath.Dir(h.note.Name())
	return errors.Join(h.note.Sync(), durable.Names(dir), durable.Names(filepath.Dir(dir)))
}

func (h *heldRoot) forget() error {
	return errors.Join(h.note.Truncate(0), h.note.Sync())
}
