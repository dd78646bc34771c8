package changes

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/dmcopy/dmcopy/dispatch"
	"github.com/dmcopy/dmcopy/internal/dispatch/account"
	"github.com/dmcopy/dmcopy/internal/dispatch/plan"
	"github.com/dmcopy/dmcopy/test/vm"
)

// pace makes a copy of copySize last for some seconds, and of windows several.
const (
	copySize = 16 * mib
	window   = 4 * mib
	pace     = 12 * mib
)

// snapshotted is an origin with a snapshot, and somewhere to copy it to.
type snapshotted struct {
	origin, snap, dst string
	name              string // of the snapshot, for dmsetup
	chunk             int64  // bytes
	seed              uint64 // of what was frozen
}

// snapshotOf makes an origin, fills it and takes a snapshot. The exceptions have
// room for store bytes.
func snapshotOf(d *disk, chunk, store int64, mode string, seed uint64) *snapshotted {
	d.t.Helper()
	real := d.part("real", copySize)
	vm.Stamp(d.t, real, seed, 0, copySize)
	cow := d.part("cow", store)
	clean(d.t, cow)
	n := sectors(copySize)
	s := &snapshotted{name: "snap", chunk: chunk, seed: seed, dst: d.part("dst", copySize)}
	s.snap = vm.Mapped(d.t, s.name, fmt.Sprintf("0 %d snapshot %s %s %s %d", n, real, cow, mode, sectors(chunk)))
	// The origin looks for its snapshots when it is resumed, as it is now.
	s.origin = vm.Mapped(d.t, "origin", fmt.Sprintf("0 %d snapshot-origin %s", n, real))
	return s
}

// lvmSnapshotOf is the same with LVM.
func lvmSnapshotOf(d *disk, chunk, store int64, seed uint64) *snapshotted {
	t := d.t
	t.Helper()
	group(t, "vg", d.path)
	s := &snapshotted{name: "vg-snap", chunk: chunk, seed: seed, origin: vm.Volume(t, "vg", "origin", copySize), dst: vm.Volume(t, "vg", "dst", copySize), snap: "/dev/vg/snap"}
	vm.Stamp(t, s.origin, seed, 0, copySize)
	vm.Run(t, "lvcreate", "-y", "-s", "-n", "snap", "-c", fmt.Sprintf("%db", chunk), "-L", fmt.Sprintf("%db", store), "vg/origin")
	return s
}

// copy copies the snapshot while its origin is written, in the background, and
// at set moments: every unit that at names is written after the plan was made and
// before its place is copied.
func (s *snapshotted) copy(t *testing.T, w *writer, at ...int64) *account.Report {
	t.Helper()
	vm.Slowly(t, alpha, pace)
	var once sync.Once
	var stop func()
	ended := start(t, s.snap, s.dst, dispatch.Options{Window: window, Progress: func(p account.Progress) {
		if p.Phase != account.PhaseCopying {
			return
		}
		once.Do(func() {
			for _, off := range at {
				w.at(off)
			}
			stop = w.run()
		})
	}})
	r := <-ended
	once.Do(func() { stop = func() {} })
	stop()
	return r.must(t)
}

// check compares the copy with what was frozen. What was written at set moments
// must have been noticed.
func (s *snapshotted) check(t *testing.T, report *account.Report, w *writer, least int64) {
	t.Helper()
	holds(t, s.dst, s.seed, copySize)
	holds(t, s.snap, s.seed, copySize)
	t.Logf("%d writes, status %s", w.writes, strings.TrimSpace(vm.Run(t, "dmsetup", "status", s.name)))
	if moved := because(report, plan.ReasonCopiedOnWrite); moved < least || report.Offloaded == 0 {
		t.Errorf("%d bytes were copied on write, want %d; %d were offloaded", moved, least, report.Offloaded)
	}
}

// marks are places in every window, in the middle and at the borders.
func (s *snapshotted) marks() (at []int64) {
	for off := int64(0); off < copySize; off += window {
		at = append(at, off, off+window/2, off+window-s.chunk)
	}
	return at
}

// TestOriginIsWritten writes to the origin all the time.
func TestOriginIsWritten(t *testing.T) {
	for i, chunk := range []int64{8, 16, 32, 64, 128} {
		if testing.Short() && i != 0 && i != 4 {
			continue
		}
		t.Run(fmt.Sprintf("chunk %d", chunk), func(t *testing.T) {
			d := newDisk(t)
			s := snapshotOf(d, chunk*512, 2*copySize, []string{"P", "PO"}[i%2], uint64(i+1))
			w := newWriter(t, s.origin, copySize, s.chunk, uint64(i))
			w.burst = []int{0, 3, 25, 5, 0}[i]
			// Some exceptions are there before, in the second half.
			for off := int64(copySize / 2); off < copySize; off += copySize / 16 {
				w.at(off)
			}
			s.check(t, s.copy(t, w, s.marks()...), w, s.chunk)
		})
	}
}

// TestOriginOfLVM does so with volumes of LVM.
func TestOriginOfLVM(t *testing.T) {
	s := lvmSnapshotOf(newDisk(t), 4096, 2*copySize, 9)
	w := newWriter(t, s.origin, copySize, s.chunk, 9)
	s.check(t, s.copy(t, w, s.marks()...), w, s.chunk)
}
