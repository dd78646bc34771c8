package soak

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/dmcopy/dmcopy/test/vm"
)

// image is what all disks hold, by path.
type image map[string][]byte

func (l *lab) newImage(t *testing.T) image {
	m := make(image)
	for _, d := range l.disks {
		m[d] = vm.Aligned(t, diskSize)
	}
	return m
}

// load reads all disks past the page cache, those of the target past the kernel.
func (l *lab) load(t *testing.T, m image) {
	t.Helper()
	for i, path := range l.disks {
		if i < len(l.emulated) {
			vm.ReadDirect(t, path, m[path], 0)
		} else if _, err := l.caches[i-len(l.emulated)].ReadAt(m[path], 0); err != nil {
			t.Fatal(err)
		}
	}
}

// refresh gives the disks other contents.
func (l *lab) refresh(t *testing.T, rng *rand.Rand) {
	for i, path := range l.disks {
		copy(l.expected[path], l.pattern[rng.IntN(diskSize/512)*512:])
		if i < len(l.emulated) {
			vm.WriteDirect(t, path, l.expected[path], 0)
		} else if _, err := l.caches[i-len(l.emulated)].WriteAt(l.expected[path], 0); err != nil {
			t.Fatal(err)
		}
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
