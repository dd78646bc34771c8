package copies

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/internal/layout"
	"github.com/dmcopy/dmcopy/remap"
	"github.com/dmcopy/dmcopy/test/vm"
)

// mapProbes is how many random sectors of each device are compared with what the
// kernel does: 1000 for the two ends of a stack.
const mapProbes = 500

// compareMap reads random sectors through the top and watches with the
// tracepoint block:block_bio_remap where the kernel sends them, level by level;
// the resolver must name the same leaf and sector.
func compareMap(t *testing.T, device string, size int64) {
	t.Helper()
	dev := devOf(t, device)
	reader := layout.NewReader(layout.Options{})
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
	sectors := make([]int64, mapProbes)
	for i := range sectors {
		sectors[i] = rand.Int64N(size/block) * block / 512
	}
	seen := vm.FollowReads(t, device, sectors, int(block))
	for _, s := range sectors {
		for e, err := range stack.Resolve(remap.Read, remap.Range{Dev: dev, Start: remap.Sector(s), Len: 1}) {
			if err != nil {
				t.Fatal(err)
			}
			if e.Kind != remap.Data {
				opaque++
				continue
			}
			mapped++
			want := vm.Place{Dev: e.Leg.Dev.String(), Sector: uint64(e.Leg.Start)}
			if got := seen[s]; got != want {
				t.Fatalf("sector %d of %s: the resolver says %v, the kernel %v", s, device, want, got)
			}
		}
	}
	t.Logf("%s: %d sectors agree, %d are not mapped", device, mapped, opaque)
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
