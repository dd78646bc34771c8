package soak

import (
	"bytes"
	"math/rand/v2"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// aligned is memory that direct I/O takes.
func aligned(t *testing.T, n int64) []byte {
	t.Helper()
	b, err := unix.Mmap(-1, 0, int(n), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Munmap(b) })
	return b
}

func readAt(t *testing.T, path string, p []byte, off int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_DIRECT, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.ReadAt(p, off); err != nil {
		t.Fatal(err)
	}
}

// writeAt writes, durably.
func writeAt(t *testing.T, path string, p []byte, off int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY|unix.O_DIRECT|unix.O_DSYNC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(p, off); err != nil {
		t.Fatal(err)
	}
}

// image is what all disks hold, by path.
type image map[string][]byte

func (l *lab) newImage(t *testing.T) image {
	m := make(image)
	for _, d := range l.disks {
		m[d] = aligned(t, diskSize)
	}
	return m
}

// load reads all disks past the page cache, those of the target past the kernel.
func (l *lab) load(t *testing.T, m image) {
	t.Helper()
	for i, path := range l.disks {
		if i < len(l.emulated) {
			readAt(t, path, m[path], 0)
		} else if _, err := l.caches[i-len(l.emulated)].ReadAt(m[path], 0); err != nil {
			t.Fatal(err)
		}
	}
}

// refresh gives the disks other contents.
func (l *lab) refresh(t *testing.T, rng *rand.Rand) {
	for _, path := range l.disks {
		copy(l.expected[path], l.pattern[rng.IntN(diskSize/512)*512:])
		writeAt(t, path, l.expected[path], 0)
	}
}

// at are the bytes of a run.
func (m image) at(r run) []byte { return m[r.path][r.start*512:][:r.len*512] }

// checkForeign compares the disks with what is expected of them, wherever the destination does not lie: there, what
// was copied is not what its complement left behind.
func checkForeign(t *testing.T, expected, after, flipped image) {
	t.Helper()
	const block = 64 * kib
	for path, is := range after {
		for s := 0; s < len(is); s += 512 {
			if s%block == 0 && s+block <= len(is) && bytes.Equal(is[s:s+block], expected[path][s:s+block]) {
				s += block - 512
				continue
			}
			sector := is[s : s+512]
			if bytes.Equal(sector, flipped[path][s:s+512]) && !bytes.Equal(sector, expected[path][s:s+512]) {
				t.Errorf("sector %d of %s was changed and does not belong to the destination", s/512, path)
				break
			}
		}
	}
}
