package resolver

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/internal/sysblock"
	"github.com/dmcopy/dmcopy/remap"
	"github.com/dmcopy/dmcopy/test/vm"
)

var live sysblock.FS

// disk is a leaf.
type disk struct {
	path  string
	dev   remap.Dev
	size  remap.Sector
	next  remap.Sector // first sector that is not taken
	parts int32        // partitions made so far
	whole bool         // used as a whole: the kernel lets nobody have a partition of it then
}

// pool is the disks of the machine.
type pool struct {
	plain, bigBlocks []*disk
	paths            []*disk // two ways to one disk: the second one stands for the first
	byDev            map[remap.Dev]*disk
	stamps           uint64 // seeds given out
	names            int
}

func newPool(t *testing.T) *pool {
	t.Helper()
	p := &pool{byDev: make(map[remap.Dev]*disk)}
	for _, d := range leafDisks {
		p.plain = append(p.plain, p.add(t, vm.Device(t, d), d.Size))
	}
	for _, d := range bigBlockDisks {
		p.bigBlocks = append(p.bigBlocks, p.add(t, vm.Device(t, d), d.Size))
	}
	serials, err := filepath.Glob("/sys/block/nvme*/device/serial")
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(serials)
	for _, file := range serials {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if strings.TrimSpace(string(text)) == pathDisk.Serial {
			p.paths = append(p.paths, p.add(t, "/dev/"+strings.Split(file, "/")[3], pathDisk.Size))
		}
	}
	if len(p.paths) != pathDisk.Controllers {
		t.Fatalf("%d paths to disk %s", len(p.paths), pathDisk.Name())
	}
	vm.NoUdev(t)
	return p
}

func (p *pool) add(t *testing.T, path string, size int64) *disk {
	t.Helper()
	d := &disk{path: path, dev: lookup(t, path), size: remap.Sector(size / remap.SectorSize)}
	p.byDev[d.dev] = d
	return d
}

// stamp gives out a seed that nobody else uses.
func (p *pool) stamp() uint64 { p.stamps++; return p.stamps }

// run is a piece of a disk.
type run struct {
	disk       *disk
	start, len remap.Sector
}

// arg is how tables name the run.
func (r run) arg() string { return fmt.Sprintf("%s %d", r.disk.path, r.start) }

// bench is where one trial is built.
type bench struct {
	*testing.T
	*rand.Rand
	pool  *pool
	disks []*disk // that runs are taken from
	align remap.Sector
	taken []run
}

func newBench(t *testing.T, p *pool, rng *rand.Rand) *bench {
	b := &bench{T: t, Rand: rng, pool: p, disks: p.plain, align: 1}
	for _, d := range p.byDev {
		d.next, d.parts, d.whole = 0, 0, false
	}
	for _, i := range rng.Perm(len(p.plain))[:len(p.plain)/2] {
		p.plain[i].whole = true
	}
	p.bigBlocks[rng.IntN(len(p.bigBlocks))].whole = true
	return b
}

// sometimesBigBlocks takes all runs from disks with blocks of 4096 bytes, once in a while.
func (b *bench) sometimesBigBlocks() {
	if b.IntN(4) == 0 {
		b.disks, b.align = b.pool.bigBlocks, 8
	}
}

// upTo is a random multiple of unit in [unit, most].
func (b *bench) upTo(most, unit remap.Sector) remap.Sector {
	return (1 + remap.Sector(b.Int64N(int64(most/unit)))) * unit
}

// between is a random multiple of unit in [least, most].
func (b *bench) between(least, most, unit remap.Sector) remap.Sector {
	least = (least + unit - 1) / unit * unit
	return least + b.upTo(most-least+unit, unit) - unit
}

// pick is one of the values.
func pick[T any](b *bench, values ...T) T { return values[b.IntN(len(values))] }

// take takes n sectors of unused space on a disk, to make a partition of it.
func (b *bench) take(n remap.Sector) run {
	b.Helper()
	return b.takeFrom(false, n)
}

// takeFrom takes n sectors of unused space and stamps them: each tells its place.
func (b *bench) takeFrom(whole bool, n remap.Sector) run {
	b.Helper()
	var fit []*disk
	for _, d := range b.disks {
		if d.whole == whole && d.size-d.next >= n+64 {
			fit = append(fit, d)
		}
	}
	if len(fit) == 0 {
		b.Fatalf("no disk has %d sectors left", n)
	}
	d := pick(b, fit...)
	r := run{d, d.next + b.upTo(64, b.align), n}
	d.next = r.start + n
	b.taken = append(b.taken, r)
	vm.Stamp(b, d.path, b.pool.stamp(), r.start.Bytes(), n.Bytes())
	return r
}

// zeroed is a run that begins with zeroes: the sign of a new store to targets
// that keep metadata.
func (b *bench) zeroed(n remap.Sector) run {
	b.Helper()
	r := b.take(n)
	b.wipe(r.disk.path, r.start, min(n, 256))
	return r
}

func (b *bench) wipe(path string, start, n remap.Sector) {
	b.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY|unix.O_DIRECT, 0)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(pages(n.Bytes()), start.Bytes()); err != nil {
		b.Fatal(err)
	}
}

// pages is zeroed memory that direct I/O takes.
func pages(n int64) []byte {
	room := make([]byte, n+4096)
	skip := -int(uintptr(unsafe.Pointer(&room[0]))) & 4095
	return room[skip : skip+int(n)]
}

// part makes a partition of a run and returns its path: for tools that want
// whole devices.
func (b *bench) part(r run) string {
	b.Helper()
	r.disk.parts++
	return vm.Partition(b, r.disk.path, r.disk.parts, r.start.Bytes(), r.len.Bytes())
}

// place takes n sectors and says where, as tables do: on a disk or somewhere in
// a partition.
func (b *bench) place(n remap.Sector) string {
	b.Helper()
	if b.IntN(2) > 0 {
		return b.takeFrom(true, n).arg()
	}
	skip := b.upTo(100, b.align)
	return fmt.Sprintf("%s %d", b.part(b.take(n+skip)), skip)
}

// newName is a name for a mapped device.
func (b *bench) newName() string {
	b.pool.names++
	return fmt.Sprintf("layer%d", b.pool.names)
}

// mapped makes a mapped device of a table, gone with the trial.
func (b *bench) mapped(lines ...string) string {
	b.Helper()
	return vm.Mapped(b, b.newName(), lines...)
}

// until waits for a state that the kernel comes to on its own time.
func (b *bench) until(what string, reached func() bool) {
	b.Helper()
	vm.Eventually(b, what, func() error {
		if reached() {
			return nil
		}
		return fmt.Errorf("not yet")
	})
}

// size is the length of a device in sectors.
func (b *bench) size(path string) remap.Sector {
	b.Helper()
	facts, err := live.Facts(lookup(b, path))
	if err != nil {
		b.Fatal(err)
	}
	return facts.Size
}

// fill stamps a whole device.
func (b *bench) fill(path string) {
	b.Helper()
	vm.Stamp(b, path, b.pool.stamp(), 0, b.size(path).Bytes())
}

// scribble stamps some random runs of a device, in units.
func (b *bench) scribble(path string, unit remap.Sector) {
	b.Helper()
	size := b.size(path) / unit
	seed := b.pool.stamp()
	for range 6 {
		at := remap.Sector(b.Int64N(int64(size)))
		n := min(b.upTo(40, 1), size-at)
		vm.Stamp(b, path, seed, (at * unit).Bytes(), (n * unit).Bytes())
	}
}

func lookup(t testing.TB, name string) remap.Dev {
	t.Helper()
	dev, err := live.Lookup(name)
	if err != nil {
		t.Fatal(err)
	}
	return dev
}
