package copies

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/remap"
	"github.com/dmcopy/dmcopy/snapshot"
	"github.com/dmcopy/dmcopy/test/vm"
)

// mapProbes is how many random sectors of each device are compared with what the
// kernel does: 1000 for the two ends of a stack.
const mapProbes = 500

// place is a sector of a leaf.
type place struct {
	dev    string
	sector uint64
}

// compareMap reads random sectors through the top and watches with the
// tracepoint block:block_bio_remap where the kernel sends them, level by level;
// the resolver must name the same leaf and sector.
func compareMap(t *testing.T, device string, size int64) {
	t.Helper()
	dev := devOf(t, device)
	reader := snapshot.NewReader(snapshot.Options{})
	defer reader.Close()
	snap, err := reader.Read(t.Context(), dev)
	if err != nil {
		t.Fatal(err)
	}
	stack, err := snap.Stack()
	if err != nil {
		t.Fatal(err)
	}
	block := int64(stack.Node(dev).BlockSize)
	var mapped, opaque int
	sectors := make([]remap.Sector, mapProbes)
	for i := range sectors {
		sectors[i] = remap.Sector(rand.Int64N(size/block) * block / 512)
	}
	seen := trace(t, device, dev, sectors, int(block))
	for _, s := range sectors {
		for e, err := range stack.Resolve(remap.Read, remap.Range{Dev: dev, Start: s, Len: 1}) {
			if err != nil {
				t.Fatal(err)
			}
			if e.Kind != remap.Data {
				opaque++
				continue
			}
			mapped++
			want := place{e.Leg.Dev.String(), uint64(e.Leg.Start)}
			if got := seen[s]; got != want {
				t.Fatalf("sector %d of %s: the resolver says %v, the kernel %v", s, device, want, got)
			}
		}
	}
	t.Logf("%s: %d sectors agree, %d are not mapped", device, mapped, opaque)
}

// trace reads the sectors one by one and follows each down to its leaf. All the
// targets that are mapped hand a bio on in the thread that submitted it, so the
// events of this thread follow one another: a read begins with the event of the
// top device and ends where the next one begins. The tracepoint names the disk
// where a bio goes to a partition (block.h, bio_dev), so that addresses alone
// would not tell.
func trace(t *testing.T, device string, dev remap.Dev, sectors []remap.Sector, block int) map[remap.Sector]place {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	f := direct(t, device, os.O_RDONLY)
	defer f.Close()
	buf := aligned(t, int64(block))
	events := vm.TraceRemap(t, func() {
		for _, s := range sectors {
			if _, err := f.ReadAt(buf, s.Bytes()); err != nil {
				t.Fatal(err)
			}
		}
	})
	seen := make(map[remap.Sector]place, len(sectors))
	var top remap.Sector
	for _, ev := range events {
		if ev.TID != unix.Gettid() || ev.Len == 0 || multipathHead(t, ev.FromDev) {
			continue
		}
		if ev.FromDev == dev.String() {
			top = remap.Sector(ev.FromSector)
		}
		seen[top] = place{ev.Dev, ev.Sector}
	}
	return seen
}

// multipathHead tells whether the device is a namespace whose driver hands bios
// on to hidden devices, one per path. The head is the leaf.
func multipathHead(t *testing.T, dev string) bool {
	t.Helper()
	link, err := filepath.EvalSymlinks("/sys/dev/block/" + dev)
	if err != nil {
		t.Fatal(err)
	}
	_, err = os.Stat(filepath.Join(link, "partition"))
	return strings.Contains(link, "/nvme-subsystem/") && err != nil
}

func devOf(t *testing.T, path string) remap.Dev {
	t.Helper()
	resolved, err := filepath.EvalSymlinks(path)
	if err != nil {
		t.Fatal(err)
	}
	var st unix.Stat_t
	if err := unix.Stat(resolved, &st); err != nil {
		t.Fatal(fmt.Errorf("%s: %w", resolved, err))
	}
	return remap.Dev{Major: unix.Major(st.Rdev), Minor: unix.Minor(st.Rdev)}
}
