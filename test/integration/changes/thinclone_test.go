package changes

import (
	"fmt"
	"strings"
	"testing"

	"github.com/dmcopy/dmcopy/dispatch"
	"github.com/dmcopy/dmcopy/test/vm"
)

// emptyThin makes a pool of 16 MiB with a thin volume of 64 MiB, by dmsetup. What the pool
// lies on holds something already.
func emptyThin(d *disk, name string, block int64, features string) string {
	t := d.t
	t.Helper()
	const room = 16 * mib
	meta, data := d.part(name+"-tmeta", 4*mib), d.part(name+"-tdata", room)
	clean(t, meta)
	vm.Stamp(t, data, foreign, 0, room)
	pool := vm.Mapped(t, name+"-pool", fmt.Sprintf("0 %d thin-pool %s %s %d 0 %s", sectors(room), meta, data, sectors(block), features))
	vm.Run(t, "dmsetup", "message", name+"-pool", "0", "create_thin 1")
	return vm.Mapped(t, name, fmt.Sprintf("0 %d thin %s 1", sectors(64*mib), pool))
}

// mapped is how many bytes of a thin volume have blocks.
func mapped(t *testing.T, name string) int64 {
	t.Helper()
	var begin, size, n int64
	line := vm.Run(t, "dmsetup", "status", name)
	if _, err := fmt.Sscanf(strings.TrimSpace(line), "%d %d thin %d", &begin, &size, &n); err != nil {
		t.Fatalf("%q: %v", line, err)
	}
	return n * 512
}

// TestThinToThin copies 64 MiB, of which 1 MiB is data, to a pool of 16 MiB: the copy
// has the blocks of its source and no others, in pools that zero new blocks and in those
// that do not, and again when it is there already.
func TestThinToThin(t *testing.T) {
	for i, c := range []struct {
		from, to int64 // blocks
		features string
	}{{64 << 10, 64 << 10, "1 error_if_no_space"}, {64 << 10, 64 << 10, "2 skip_block_zeroing error_if_no_space"}, {64 << 10, 256 << 10, "2 skip_block_zeroing error_if_no_space"}} {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			d := newDisk(t)
			src, dst := emptyThin(d, "from", c.from, "2 skip_block_zeroing error_if_no_space"), emptyThin(d, "to", c.to, c.features)
			for k := range int64(4) {
				vm.Stamp(t, src, newSeed, k*15*mib+k*12<<10, 256<<10)
			}
			for _, again := range []bool{false, true} {
				report := (<-start(t, src, dst, dispatch.Options{})).must(t)
				vm.Run(t, "cmp", src, dst)
				most := mapped(t, "from") + 8*(c.to-c.from)
				if n := mapped(t, "to"); n > most || report.Skipped < 60*mib || again && report.ReadBack > 2*mib {
					t.Errorf("%d bytes are mapped, at most %d have to be: %+v", n, most, report)
				}
			}
		})
	}
}
