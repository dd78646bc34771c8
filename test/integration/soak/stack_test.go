package soak

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/dmcopy/dmcopy/test/vm"
)

// run is a run of sectors on a disk or a device that nobody else uses.
type run struct {
	path       string
	start, len int64
}

// segment is a line of a table.
type segment struct {
	line string // of dmsetup, without start and length
	len  int64  // sectors
	// at is where a linear segment lies.
	at run
}

// device is a device that was made.
type device struct {
	name, path string
	segments   []segment
	// lowest: all of it is linear, and lies on disks.
	lowest bool
}

func (d *device) table() string {
	var lines []string
	start := int64(0)
	for _, s := range d.segments {
		lines = append(lines, fmt.Sprintf("%d %d %s", start, s.len, s.line))
		start += s.len
	}
	return strings.Join(lines, "\n")
}

// builder makes random stacks of device-mapper devices on disks.
type builder struct {
	t     *testing.T
	rng   *rand.Rand
	free  []run
	made  []*device // in the order of creation
	align int64     // of lengths, in sectors
	// first is the disk that is taken more often than the others, so that both ends meet on one often enough.
	first int
}

func newBuilder(t *testing.T, rng *rand.Rand, disks []string) *builder {
	b := &builder{t: t, rng: rng, align: []int64{1, 8, 24, 128}[rng.IntN(4)], first: rng.IntN(len(disks))}
	for _, d := range disks {
		start := int64(rng.IntN(64))
		b.free = append(b.free, run{d, start, diskSize/512 - 64})
	}
	return b
}

// carve takes n sectors of unused space somewhere; nothing if there are none.
func (b *builder) carve(n int64) (run, bool) {
	for range 50 {
		i := b.first
		if b.rng.IntN(2) == 0 {
			i = b.rng.IntN(len(b.free))
		}
		if r := &b.free[i]; r.len >= n {
			cut := run{r.path, r.start, n}
			r.start += n
			r.len -= n
			return cut, true
		}
	}
	return run{}, false
}

// place makes a run of n sectors: on a disk, or on a new device of its own.
func (b *builder) place(n int64, depth int) run {
	if depth > 0 {
		return run{b.device(n, depth-1), 0, n}
	}
	r, ok := b.carve(n)
	if !ok {
		b.t.Fatalf("no room for %d sectors", n)
	}
	return r
}

// device makes a device of n sectors out of lower ones and returns its path.
func (b *builder) device(n int64, depth int) string {
	switch pick := b.rng.IntN(10); {
	case pick < 3:
		return b.striped(n, depth)
	case pick == 3:
		return b.create(&device{segments: []segment{{line: fmt.Sprintf("delay %s 0", b.place(n, depth)), len: n}}})
	}
	return b.linear(n, depth)
}

// String is how a table names a place.
func (r run) String() string { return fmt.Sprintf("%s %d", r.path, r.start) }

func linearTo(r run) segment { return segment{line: "linear " + r.String(), len: r.len, at: r} }

// linear makes a device of up to five segments.
func (b *builder) linear(n int64, depth int) string {
	d := &device{lowest: true}
	for done := int64(0); done < n; {
		length := n - done
		if len(d.segments) < 4 {
			length = (1 + b.rng.Int64N(length/b.align)) * b.align
		}
		below := b.rng.IntN(depth + 1)
		d.lowest = d.lowest && below == 0
		d.segments = append(d.segments, linearTo(b.place(length, below)))
		done += length
	}
	return b.create(d)
}

// striped makes a striped device with a chunk that divides its length, if there is one.
func (b *builder) striped(n int64, depth int) string {
	const stripes = 2
	chunk := []int64{8, 16, 24, 64, 128}[b.rng.IntN(5)]
	if n%(stripes*chunk) != 0 || n%(stripes*b.align) != 0 {
		return b.linear(n, depth)
	}
	line := fmt.Sprintf("striped %d %d", stripes, chunk)
	for range stripes {
		line += " " + b.place(n/stripes, b.rng.IntN(depth+1)).String()
	}
	return b.create(&device{segments: []segment{{line: line, len: n}}})
}

// create makes a device without udev, which would only take time.
func (b *builder) create(d *device) string {
	d.name = fmt.Sprintf("soak%d", len(b.made))
	vm.Run(b.t, "dmsetup", "create", d.name, "--noudevsync", "--noudevrules", "--table", d.table())
	b.made = append(b.made, d)
	d.path = "/dev/" + strings.TrimSpace(vm.Run(b.t, "dmsetup", "info", "-c", "--noheadings", "-o", "blkdevname", d.name))
	return d.path
}

// remove takes everything down, the upper ones first.
func (b *builder) remove() {
	for i := len(b.made) - 1; i >= 0; i-- {
		vm.Run(b.t, "dmsetup", "remove", "--retry", "--noudevsync", b.made[i].name)
	}
}

// lowest are the devices that can be moved.
func (b *builder) lowest() (list []*device) {
	for _, d := range b.made {
		if d.lowest {
			list = append(list, d)
		}
	}
	return list
}
