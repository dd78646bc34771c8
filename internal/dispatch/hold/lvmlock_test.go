package hold

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The other side of the lock, as an LVM command takes it that changes a group
// (lvm2, lib/misc/lvm-flock.c: _do_write_priority_flock and _undo_flock). Every
// open file has locks of its own, so that both sides fit into one process.

// lvmFlock is _do_flock: open, lock, and again if somebody unlinked the file.
func lvmFlock(t *testing.T, path string, how int) *os.File {
	for {
		f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_RDWR, 0o777)
		if err != nil {
			t.Error(err)
			return nil
		}
		for err = unix.EINTR; errors.Is(err, unix.EINTR); {
			err = unix.Flock(int(f.Fd()), how)
		}
		if err != nil {
			f.Close()
			return nil
		}
		if named(path, f) {
			return f
		}
		f.Close()
	}
}

func named(path string, f *os.File) bool {
	a, err := os.Stat(path)
	if err != nil {
		return false
	}
	b, err := f.Stat()
	return err == nil && os.SameFile(a, b)
}

// lvmUnlock is _undo_flock: unlink if nobody else holds the lock.
func lvmUnlock(path string, f *os.File) {
	if unix.Flock(int(f.Fd()), unix.LOCK_NB|unix.LOCK_EX) == nil && named(path, f) {
		os.Remove(path)
	}
	f.Close()
}

// lockForWriting blocks as lvextend does, holding the auxiliary lock meanwhile.
func lockForWriting(t *testing.T, path string) *os.File {
	aux := lvmFlock(t, path+":aux", unix.LOCK_EX)
	f := lvmFlock(t, path, unix.LOCK_EX)
	lvmUnlock(path+":aux", aux)
	return f
}

func patience(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// place is where the lock of a group is.
func place(t *testing.T) (dir, path string) {
	dir = filepath.Join(t.TempDir(), "run", "lvm")
	return dir, filepath.Join(dir, "V_vg")
}

func mustLock(t *testing.T, dir string) *os.File {
	t.Helper()
	f, err := lockGroup(patience(t, 20*time.Second), dir, "vg")
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestLockGroup(t *testing.T) {
	dir, path := place(t)
	a := mustLock(t, dir)
	b := mustLock(t, dir) // readers do not mind each other
	if !named(path, a) || !named(path, b) {
		t.Error("the locked file is not the one with the name")
	}
	if f := lvmFlock(t, path, unix.LOCK_EX|unix.LOCK_NB); f != nil {
		t.Error("a writer got in while two readers hold the lock")
	}
	a.Close()
	if f := lvmFlock(t, path, unix.LOCK_EX|unix.LOCK_NB); f != nil {
		t.Error("a writer got in while a reader holds the lock")
	}
	b.Close()
	f := lvmFlock(t, path, unix.LOCK_EX|unix.LOCK_NB)
	if f == nil {
		t.Fatal("nobody holds the lock, and it cannot be had")
	}
	lvmUnlock(path, f)
}

func TestLockGroupWaitsForWriter(t *testing.T) {
	dir, path := place(t)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	held := lockForWriting(t, path)
	if _, err := lockGroup(patience(t, 30*time.Millisecond), dir, "vg"); !errors.Is(err, ErrContended) {
		t.Errorf("while a writer holds the lock: %v", err)
	}
	lvmUnlock(path, held)
	mustLock(t, dir).Close()
}

// TestLockGroupLetsWriterFirst: a writer that waits is not kept waiting by more
// and more readers.
func TestLockGroupLetsWriterFirst(t *testing.T) {
	dir, path := place(t)
	reader := mustLock(t, dir)
	got := make(chan *os.File)
	go func() { got <- lockForWriting(t, path) }()
	for { // until the writer waits, holding the auxiliary lock
		aux, err := flock(path+":aux", unix.LOCK_EX)
		if errors.Is(err, unix.EWOULDBLOCK) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		aux.Close()
	}
	if f, err := lockGroup(patience(t, 30*time.Millisecond), dir, "vg"); !errors.Is(err, ErrContended) {
		t.Fatalf("a second reader got in before the writer: %v, %v", f, err)
	}
	reader.Close()
	writer := <-got
	if !named(path, writer) {
		t.Error("the writer holds a file without a name")
	}
	lvmUnlock(path, writer)
	mustLock(t, dir).Close()
}

// TestLockGroupUnlinked: a lock on a file that was unlinked meanwhile holds
// nobody off, and must not be taken for one.
func TestLockGroupUnlinked(t *testing.T) {
	dir, path := place(t)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 300 {
			lvmUnlock(path, lockForWriting(t, path))
		}
	}()
	for locked := 0; ; locked++ {
		select {
		case <-done:
			if locked == 0 {
				t.Error("never got the lock")
			}
			return
		default:
		}
		f := mustLock(t, dir)
		if !named(path, f) {
			t.Fatal("the locked file is not the one with the name")
		}
		f.Close()
	}
}

// TestLockNamed: the name can be that of another file, or of none, between opening and locking.
func TestLockNamed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "V_vg")
	open := func() *os.File {
		f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		return f
	}
	f := open()
	if named, err := lockNamed(f, path, unix.LOCK_SH); !named || err != nil {
		t.Errorf("%t, %v", named, err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if named, err := lockNamed(f, path, unix.LOCK_SH); named || err != nil {
		t.Errorf("without a name: %t, %v", named, err)
	}
	other := open()
	if named, err := lockNamed(f, path, unix.LOCK_SH); named || err != nil {
		t.Errorf("with another file of the name: %t, %v", named, err)
	}
	if named, err := lockNamed(other, path, unix.LOCK_EX); !named || err != nil {
		t.Errorf("the other file: %t, %v", named, err)
	}
	if named, err := lockNamed(open(), path, unix.LOCK_SH); named || !errors.Is(err, unix.EWOULDBLOCK) {
		t.Errorf("locked by somebody: %t, %v", named, err)
	}
}

// TestLockGroups: all of them or none.
func TestLockGroups(t *testing.T) {
	dir, path := place(t)
	locks, err := lockGroups(t.Context(), dir, []string{"a", "vg", "z"}, time.Second)
	if err != nil || len(locks) != 3 {
		t.Fatal(locks, err)
	}
	if err := locks.Close(); err != nil {
		t.Error(err)
	}
	held := lockForWriting(t, path)
	began := time.Now()
	if locks, err := lockGroups(t.Context(), dir, []string{"a", "vg", "z"}, 50*time.Millisecond); !errors.Is(err, ErrContended) || locks != nil {
		t.Error(locks, err)
	}
	if took := time.Since(began); took < 50*time.Millisecond {
		t.Errorf("given up after %v", took)
	}
	for _, group := range []string{"a", "z"} {
		f := lvmFlock(t, filepath.Join(dir, "V_"+group), unix.LOCK_EX|unix.LOCK_NB)
		if f == nil {
			t.Errorf("the lock of %s was kept", group)
			continue
		}
		f.Close()
	}
	lvmUnlock(path, held)
	if locks, err := lockGroups(t.Context(), dir, nil, 0); err != nil || len(locks) != 0 {
		t.Error(locks, err)
	}
}

// TestLockGroupCannot: what is no matter of waiting fails at once.
func TestLockGroupCannot(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(dir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := lockGroup(t.Context(), dir, "vg"); !errors.Is(err, unix.ENOTDIR) || errors.Is(err, ErrContended) {
		t.Error(err)
	}
	dir, path := place(t)
	if err := os.MkdirAll(path, 0o700); err != nil { // a directory in the place of the lock
		t.Fatal(err)
	}
	if _, err := lockGroup(t.Context(), dir, "vg"); !errors.Is(err, unix.EISDIR) {
		t.Error(err)
	}
}
