package blockio_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/internal/blockio"
	"github.com/dmcopy/dmcopy/internal/blockio/looptest"
)

// TestUnmap: what is mapped of a device stays as it was whatever is written below,
// until it is unmapped.
func TestUnmap(t *testing.T) {
	const size = 4 << 20
	below := tempFile(t, size)
	loop := looptest.Attach(t, below, 512)
	var st unix.Stat_t
	if err := unix.Stat(loop, &st); err != nil {
		t.Fatal(err)
	}
	reader, err := os.Open(loop)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	memory, err := unix.Mmap(int(reader.Fd()), 0, size, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(memory)
	stale := func(now byte) (pages int) {
		for at := 0; at < size; at += 4096 {
			if memory[at] != now {
				pages++
			}
		}
		return pages
	}
	if n := stale(0xee); n != 0 {
		t.Fatal(n)
	}
	if err := os.WriteFile(below, bytes.Repeat([]byte{0xaa}, size), 0o600); err != nil {
		t.Fatal(err)
	}
	node, err := blockio.OpenNode(unix.Major(st.Rdev), unix.Minor(st.Rdev), blockio.Write)
	if err != nil {
		t.Fatal(err)
	}
	defer node.Close()
	if err := node.Cache().Invalidate(); err != nil {
		t.Fatal(err)
	}
	if n := stale(0xaa); n != size/4096 {
		t.Fatalf("%d pages are stale, although all are mapped", n)
	}
	if err := node.Cache().Unmap(); err != nil {
		t.Fatal(err)
	}
	if n := stale(0xaa); n != 0 {
		t.Errorf("%d of %d mapped pages are stale", n, size/4096)
	}
	if got, err := os.ReadFile(below); err != nil || !bytes.Equal(got, bytes.Repeat([]byte{0xaa}, size)) {
		t.Errorf("something was written, %v", err)
	}
	file := open(t, below, blockio.Write)
	if err := file.Cache().Unmap(); !errors.Is(err, os.ErrInvalid) {
		t.Errorf("of a file: %v", err)
	}
}

// TestWriteBackFails: what cannot be written back is told of, by whoever drops it.
func TestWriteBackFails(t *testing.T) {
	const size = 4 << 20
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if os.Geteuid() == 0 { // else there are no loop devices either
		if err := unix.Mount("full", dir, "tmpfs", 0, "size=1m"); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
				t.Error(err)
			}
		})
	}
	if err := errors.Join(os.WriteFile(file, nil, 0o600), os.Truncate(file, size)); err != nil {
		t.Fatal(err)
	}
	loop := looptest.Attach(t, file, 512)
	writer, err := os.OpenFile(loop, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer writer.Close()
	if _, err := writer.Write(bytes.Repeat([]byte{1}, size)); err != nil {
		t.Fatal(err)
	}
	device := open(t, loop, blockio.Buffered)
	var e *blockio.Error
	if err := device.Cache().Invalidate(); !errors.As(err, &e) || e.Op != "sync_file_range" {
		t.Errorf("%v", err)
	}
}
