package changes

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/dmcopy/dmcopy/dispatch"
	"github.com/dmcopy/dmcopy/internal/dispatch/account"
	"github.com/dmcopy/dmcopy/test/vm"
)

const (
	poolBlock = 64 << 10
	poolSize  = 80 * mib
)

// thinned is a volume of a pool with a snapshot, and somewhere to copy it to.
type thinned struct {
	pool              string // for dmsetup
	origin, snap, dst string
	// others makes other volumes in the pool, uses them, and takes them away.
	others func(round int)
}

// strew writes to a part of a volume, so that it has holes.
func strew(t *testing.T, path string, seed uint64) {
	t.Helper()
	random := rand.New(rand.NewPCG(seed, 2))
	for off := int64(0); off < copySize; {
		n := poolBlock/4*(1+random.Int64N(40)) + 4096
		vm.Stamp(t, path, seed, off, min(n, copySize-off))
		off += n + poolBlock/4*random.Int64N(20)
	}
}

// thinOf makes a pool and what belongs to it with dmsetup.
func thinOf(d *disk, seed uint64) *thinned {
	t := d.t
	t.Helper()
	meta, data := d.part("tmeta", 4*mib), d.part("tdata", poolSize)
	clean(t, meta)
	s := &thinned{pool: "pool", dst: d.part("dst", copySize)}
	// The metadata are looked at when the pool is gone.
	t.Cleanup(func() { vm.Run(t, "thin_check", meta) })
	path := vm.Mapped(t, s.pool, fmt.Sprintf("0 %d thin-pool %s %s %d 0", sectors(poolSize), meta, data, sectors(poolBlock)))
	message := func(args ...string) {
		if _, err := vm.TryRun("dmsetup", append([]string{"message", s.pool, "0"}, args...)...); err != nil {
			t.Error(err)
		}
	}
	thin := func(name string, id int) string {
		return vm.Mapped(t, name, fmt.Sprintf("0 %d thin %s %d", sectors(copySize), path, id))
	}
	message("create_thin", "1")
	s.origin = thin("origin", 1)
	strew(t, s.origin, seed)
	vm.Run(t, "dmsetup", "suspend", "origin")
	message("create_snap", "2", "1")
	vm.Run(t, "dmsetup", "resume", "origin")
	s.snap = thin("snap", 2)
	s.others = func(round int) {
		id := fmt.Sprint(10 + round)
		message("create_thin", id)
		other, err := vm.TryRun("dmsetup", "create", "other", "--table", fmt.Sprintf("0 %d thin %s %s", sectors(copySize), path, id))
		if err != nil {
			t.Error(other, err)
			return
		}
		vm.Stamp(t, "/dev/mapper/other", foreign+99, 0, mib)
		vm.TryRun("dmsetup", "remove", "--retry", "other")
		message("delete", id)
		if round%2 == 0 {
			message("set_transaction_id", fmt.Sprint(round/2), fmt.Sprint(round/2+1))
		}
	}
	return s
}

// lvmThinOf is the same with LVM.
func lvmThinOf(d *disk, seed uint64) *thinned {
	t := d.t
	t.Helper()
	thinGroup(d)
	vm.Run(t, "lvcreate", "-y", "-qq", "-Wn", "-V", fmt.Sprintf("%db", copySize), "-n", "thin", "--thinpool", "vg/pool")
	s := &thinned{pool: "vg-pool-tpool", origin: "/dev/vg/thin", snap: "/dev/vg/snap", dst: vm.Volume(t, "vg", "dst", copySize)}
	strew(t, s.origin, seed)
	vm.Run(t, "lvcreate", "-y", "-qq", "-s", "-kn", "-pr", "-n", "snap", "vg/thin")
	s.others = func(round int) {
		name := fmt.Sprint("other", round)
		commands := [][]string{
			{"lvcreate", "-y", "-qq", "-Wn", "-V", "8m", "-n", name, "--thinpool", "vg/pool"},
			{"lvcreate", "-y", "-qq", "-s", "-kn", "-n", name + "s", "vg/thin"},
			{"lvremove", "-y", "-qq", "vg/" + name, "vg/" + name + "s"},
		}
		for _, args := range commands {
			if _, err := vm.TryRun(args[0], args[1:]...); err != nil {
				t.Error(err)
			}
		}
	}
	return s
}

// thinGroup makes a volume group with a pool, whose metadata are checked at the
// end.
func thinGroup(d *disk) {
	t := d.t
	t.Helper()
	group(t, "vg", d.path)
	vm.Run(t, "lvcreate", "-y", "-qq", "--type=thin-pool", "-L", fmt.Sprintf("%db", poolSize), "--poolmetadatasize=4m", "-c64k", "-n", "pool", "vg")
	t.Cleanup(func() {
		vm.Run(t, "vgchange", "-an", "-qq", "vg")
		vm.Run(t, "lvchange", "-ay", "-y", "-qq", "vg/pool_tmeta")
		vm.Run(t, "thin_check", "/dev/vg/pool_tmeta")
		vm.Run(t, "lvchange", "-an", "-qq", "vg/pool_tmeta")
	})
}

// rootFree fails the test if the pool has a metadata snapshot.
func rootFree(t *testing.T, pool string) {
	t.Helper()
	status := vm.Run(t, "dmsetup", "status", pool)
	if fields := strings.Fields(status); len(fields) < 7 || fields[6] != "-" {
		t.Errorf("status of %s: %s", pool, status)
	}
}

// discard gives up random parts of the origin.
func (s *thinned) discard(t *testing.T, random *rand.Rand) {
	n := poolBlock * (1 + random.Int64N(16))
	off := poolBlock * random.Int64N((copySize-n)/poolBlock+1)
	if _, err := vm.TryRun("blkdiscard", "-o", fmt.Sprint(off), "-l", fmt.Sprint(n), s.origin); err != nil {
		t.Error(err)
	}
}

// TestThinOrigin writes to the origin of a thin snapshot, which breaks sharing
// and maps new blocks, and discards parts of it, while other volumes of the pool
// come and go.
func TestThinOrigin(t *testing.T) {
	for name, make := range map[string]func(*disk, uint64) *thinned{"dmsetup": thinOf, "lvm": lvmThinOf} {
		t.Run(name, func(t *testing.T) {
			s := make(newDisk(t), 30)
			before := hash(t, s.snap, copySize)
			vm.Stamp(t, s.dst, foreign, 0, copySize)
			w := newWriter(t, s.origin, copySize, poolBlock, 30)
			random := rand.New(rand.NewPCG(30, 3))
			vm.Slowly(t, alpha, pace)
			var once sync.Once
			var stops []func()
			ended := start(t, s.snap, s.dst, dispatch.Options{Window: window, Progress: func(p account.Progress) {
				if p.Phase != account.PhaseCopying {
					return
				}
				once.Do(func() {
					s.others(0)
					s.discard(t, random)
					rounds := 1
					stops = append(stops, w.run(), repeat(func() {
						s.discard(t, random)
						s.others(rounds)
						rounds++
					}))
				})
			}})
			r := <-ended
			for _, stop := range stops {
				stop()
			}
			report := r.must(t)
			same(t, s.dst, before, copySize)
			same(t, s.snap, before, copySize)
			rootFree(t, s.pool)
			if report.Offloaded == 0 || report.Zeroed == 0 || report.LayoutChanges == 0 {
				t.Errorf("report: %+v", report)
			}
		})
	}
}
