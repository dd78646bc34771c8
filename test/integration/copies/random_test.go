package copies

import (
	"bytes"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/dispatch"
	"github.com/dmcopy/dmcopy/dispatch/hold"
	"github.com/dmcopy/dmcopy/test/copying"
	"github.com/dmcopy/dmcopy/test/vm"
)

var (
	seed   = flag.Uint64("seed", 0, "seed of the random trials; 0 takes a new one")
	trials = flag.Int("trials", 200, "random trials: stacks × ranges")
)

// copiesPerStack is how many trials one pair of stacks serves.
const copiesPerStack = 5

// extent is a run of sectors on a device that nobody else uses.
type extent struct {
	path       string
	start, len int64
}

// builder makes random stacks of device-mapper devices on the small disks.
type builder struct {
	t     *testing.T
	rng   *rand.Rand
	free  []extent
	made  []string // names, in the order of creation
	align int64    // of lengths, in sectors
}

// carve takes n sectors of unused space somewhere.
func (b *builder) carve(n int64) extent {
	for {
		// The first disk more often than the others, so that both ends meet in
		// one namespace often enough.
		e := &b.free[max(b.rng.IntN(len(b.free)+3)-3, 0)]
		if e.len >= n {
			cut := extent{e.path, e.start, n}
			e.start += n
			e.len -= n
			return cut
		}
	}
}

// place makes a run of n sectors: on a disk, or on a new device of its own.
func (b *builder) place(n int64, depth int) extent {
	if depth == 0 {
		return b.carve(n)
	}
	return extent{b.device(n, depth-1), 0, n}
}

// device makes a device of n sectors out of lower ones and returns its path.
func (b *builder) device(n int64, depth int) string {
	switch pick := b.rng.IntN(10); {
	case pick < 3 && n%(2*b.align) == 0:
		return b.striped(n, depth)
	case pick == 3:
		return b.create(fmt.Sprintf("0 %d delay %s 0", n, b.at(b.place(n, depth))))
	default:
		return b.segments(n, depth)
	}
}

func (b *builder) at(e extent) string { return fmt.Sprintf("%s %d", e.path, e.start) }

// segments makes a linear device of up to five segments.
func (b *builder) segments(n int64, depth int) string {
	var table []string
	for start := int64(0); start < n; {
		most := (n - start) / b.align
		length := n - start
		if len(table) < 4 {
			length = (1 + b.rng.Int64N(most)) * b.align
		}
		table = append(table, fmt.Sprintf("%d %d linear %s", start, length, b.at(b.place(length, b.rng.IntN(depth+1)))))
		start += length
	}
	return b.create(strings.Join(table, "\n"))
}

// striped makes a striped device with a chunk that divides its length.
func (b *builder) striped(n int64, depth int) string {
	stripes := int64(2)
	chunks := []int64{8, 16, 24, 64, 128}
	chunk := chunks[b.rng.IntN(len(chunks))]
	if n%(stripes*chunk) != 0 {
		return b.segments(n, depth)
	}
	legs := make([]string, stripes)
	for i := range legs {
		legs[i] = b.at(b.place(n/stripes, b.rng.IntN(depth+1)))
	}
	return b.create(fmt.Sprintf("0 %d striped %d %d %s", n, stripes, chunk, strings.Join(legs, " ")))
}

func (b *builder) create(table string) string {
	name := fmt.Sprintf("rnd%d", len(b.made))
	vm.Run(b.t, "dmsetup", "create", name, "--noudevsync", "--noudevrules", "--table", table)
	b.made = append(b.made, name)
	node := strings.TrimSpace(vm.Run(b.t, "dmsetup", "info", "-c", "--noheadings", "-o", "blkdevname", name))
	return "/dev/" + node
}

// remove takes everything down, the upper ones first. udev may still look at a
// device that has just appeared.
func (b *builder) remove() {
	for i := len(b.made) - 1; i >= 0; i-- {
		vm.Run(b.t, "dmsetup", "remove", "--retry", "--noudevsync", b.made[i])
	}
}

// images reads whole disks past the page cache.
func images(t *testing.T, paths []string) [][]byte {
	t.Helper()
	all := make([][]byte, len(paths))
	for i, p := range paths {
		all[i] = readAt(t, p, 0, small1.Size)
	}
	return all
}

func direct(t *testing.T, path string, flags int) *os.File {
	t.Helper()
	f, err := os.OpenFile(path, flags|unix.O_DIRECT, 0)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

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

func readAt(t *testing.T, path string, off, n int64) []byte {
	t.Helper()
	f := direct(t, path, os.O_RDONLY)
	defer f.Close()
	b := aligned(t, n)
	if _, err := f.ReadAt(b, off); err != nil {
		t.Fatal(err)
	}
	return b
}

func writeAt(t *testing.T, path string, off int64, data []byte) {
	t.Helper()
	f := direct(t, path, os.O_WRONLY)
	defer f.Close()
	if _, err := f.WriteAt(data, off); err != nil {
		t.Fatal(err)
	}
}

// TestRandom copies random ranges between random stacks. What the destination
// must hold, the kernel says when the source is read through the top. Where the
// destination lies, it says as well: afterwards the complement of the data is
// written through the top, and every byte of the disks that does not change
// then must be what it was before the copy.
func TestRandom(t *testing.T) {
	if *seed == 0 {
		*seed = uint64(time.Now().UnixNano())
	}
	if testing.Short() {
		*trials = min(*trials, 60)
	}
	t.Logf("seed %d: repeat with -seed=%d -trials=%d", *seed, *seed, *trials)
	disks := []string{vm.Device(t, small1), vm.Device(t, small2), vm.Device(t, small3)}
	for i, d := range disks {
		vm.Stamp(t, d, uint64(100+i), 0, small1.Size)
	}
	rng := rand.New(rand.NewPCG(*seed, 0))
	var total dispatch.Report
	for done := 0; done < *trials && !t.Failed(); done += copiesPerStack {
		t.Run(fmt.Sprint(done), func(t *testing.T) { randomStack(t, rng, disks, &total) })
	}
	t.Logf("%d bytes offloaded, %d host, %d commands, %d fallbacks", total.Offloaded, total.Host, total.Commands, total.Fallbacks)
	if total.Offloaded == 0 || total.Host == 0 {
		t.Error("the trials did not exercise both ways")
	}
}

func randomStack(t *testing.T, rng *rand.Rand, disks []string, total *dispatch.Report) {
	b := &builder{t: t, rng: rng, align: []int64{1, 8, 24, 128}[rng.IntN(4)]}
	for _, d := range disks {
		b.free = append(b.free, extent{d, int64(rng.IntN(64)), small1.Size/512 - 64})
	}
	defer b.remove()
	size := (1 + rng.Int64N(3000/b.align)) * b.align * 2
	src, dst := b.device(size, rng.IntN(3)), b.device(size, rng.IntN(3))
	for range copiesPerStack {
		length := 1 + rng.Int64N(size)
		r := dispatch.Range{Src: rng.Int64N(size-length+1) * 512, Dst: rng.Int64N(size-length+1) * 512, Len: length * 512}
		randomCopy(t, disks, src, dst, r, total)
		if t.Failed() {
			for _, name := range b.made {
				t.Logf("%s: %s", name, vm.Run(t, "dmsetup", "table", name))
			}
			return
		}
	}
}

func randomCopy(t *testing.T, disks []string, src, dst string, r dispatch.Range, total *dispatch.Report) {
	t.Helper()
	before := images(t, disks)
	want := readAt(t, src, r.Src, r.Len)
	report, err := copying.Copy(src, dst, dispatch.Options{Hold: hold.Auto}, r)
	if err != nil {
		t.Fatalf("copy %+v: %v", r, err)
	}
	total.Offloaded += report.Offloaded
	total.Host += report.Host
	total.Commands += report.Commands
	total.Fallbacks += report.Fallbacks
	if got := readAt(t, dst, r.Dst, r.Len); !bytes.Equal(got, want) {
		t.Errorf("copy %+v: the destination is not equal to the source (%+v)", r, report)
	}
	after := images(t, disks)
	flip := aligned(t, r.Len)
	for i, c := range want {
		flip[i] = ^c
	}
	writeAt(t, dst, r.Dst, flip)
	flipped := images(t, disks)
	for i := range disks {
		checkUntouched(t, disks[i], before[i], after[i], flipped[i])
	}
	writeAt(t, dst, r.Dst, want)
}

// checkUntouched compares a disk before and after a copy wherever the
// destination does not lie.
func checkUntouched(t *testing.T, disk string, before, after, flipped []byte) {
	t.Helper()
	const block = 64 << 10
	for s := 0; s < len(before); s += 512 {
		if s%block == 0 && s+block <= len(before) && bytes.Equal(before[s:s+block], after[s:s+block]) {
			s += block - 512 // nothing changed here
			continue
		}
		if bytes.Equal(after[s:s+512], flipped[s:s+512]) && !bytes.Equal(before[s:s+512], after[s:s+512]) {
			t.Errorf("sector %d of %s was changed and does not belong to the destination", s/512, disk)
			return
		}
	}
}
