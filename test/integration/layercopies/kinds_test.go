package layercopies

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/dmcopy/dmcopy/test/vm"
)

// kind is a way of building a device.
type kind struct {
	name  string
	build func(b *bench) *subject
	// lacks are the kernels that do not have it.
	lacks []string
}

// volumeSize is the size of most devices.
const volumeSize = 16 * mib

// TestKinds copies to and from one device of each kind.
func TestKinds(t *testing.T) {
	for _, k := range slices.Concat(plainKinds, bookKinds, checkedKinds, cacheKinds, arrayKinds, volumeKinds) {
		if slices.Contains(k.lacks, vm.Kernel()) {
			continue
		}
		t.Run(k.name, func(t *testing.T) {
			b := newBench(t)
			b.exercise(k.build(b))
		})
	}
}

// Kinds that are arithmetic and nothing else.
var plainKinds = []kind{
	{name: "linear", build: func(b *bench) *subject {
		half := sectors(volumeSize / 2)
		return &subject{path: b.mapped(
			fmt.Sprintf("0 %d linear %s 0", half, b.part(volumeSize/2)),
			fmt.Sprintf("%d %d linear %s 24", half, half, b.part(volumeSize/2+12*kib))), source: raw, target: raw}
	}},
	{name: "striped", build: func(b *bench) *subject {
		return &subject{path: b.striped(b.part(volumeSize/2)+" 0", b.part(volumeSize/2)+" 0"), source: raw, target: raw}
	}},
	{name: "unstriped", build: func(b *bench) *subject {
		lower := b.part(2 * volumeSize)
		return &subject{path: b.mapped(fmt.Sprintf("0 %d unstriped 2 128 1 %s 0", sectors(volumeSize), lower)), source: raw, target: raw}
	}},
	{name: "delay", build: func(b *bench) *subject {
		return &subject{path: b.mapped(fmt.Sprintf("0 %d delay %s 0 1", sectors(volumeSize), b.part(volumeSize))), source: raw, target: raw}
	}},
	{name: "zero", build: func(b *bench) *subject {
		half := sectors(volumeSize / 2)
		return &subject{filled: true, source: partlyZero,
			path: b.mapped(fmt.Sprintf("0 %d linear %s 0", half, b.filledPart(volumeSize/2)), fmt.Sprintf("%d %d zero", half, half))}
	}},
	{name: "multipath", build: func(b *bench) *subject {
		b.multipath("queue_mode bio")
		return &subject{path: b.part(volumeSize), source: raw, target: raw}
	}},
	{name: "multipath of requests", build: func(b *bench) *subject {
		// Requests are not throttled at the disk, so that nothing holds them. Both
		// ends are destinations of this kind.
		b.multipath("queue_mode mq")
		return &subject{path: b.part(volumeSize), source: host("hold:unavailable"), target: host("hold:unavailable")}
	}},
	{name: "multipath of requests, trusted", build: func(b *bench) *subject {
		b.multipath("queue_mode mq")
		return &subject{path: b.part(volumeSize), args: []string{"--hold=trust"}, source: raw, target: raw}
	}},
	{name: "flakey", build: func(b *bench) *subject { // never comes to the time in which it fails
		return &subject{path: b.mapped(fmt.Sprintf("0 %d flakey %s 0 3600 0", sectors(volumeSize), b.part(volumeSize))),
			source: host("layer:flakey"), target: host("layer:flakey")}
	}},
	{name: "switch", build: func(b *bench) *subject {
		return &subject{path: b.mapped(fmt.Sprintf("0 %d switch 2 128 0 %s 0 %s 0", sectors(volumeSize), b.part(volumeSize), b.part(volumeSize))),
			source: host("layer:switch"), target: host("layer:switch")}
	}},
	{name: "crypt", build: func(b *bench) *subject {
		return &subject{path: b.crypt(b.part(volumeSize), 512), source: host("layer:crypt"), target: host("layer:crypt")}
	}},
}

// partlyZero is a copy of which the disk does everything that is not zeroes.
var partlyZero = &outcome{share: allRaw, reasons: host("source:zero").reasons}

// filledPart is a partition full of stamps.
func (b *bench) filledPart(size int64) string {
	b.Helper()
	path := b.part(size)
	b.fill(path)
	return path
}

// striped makes a device of stripes on runs of equal length.
func (b *bench) striped(legs ...string) string {
	b.Helper()
	return b.mapped(fmt.Sprintf("0 %d striped %d 128 %s", sectors(volumeSize), len(legs), strings.Join(legs, " ")))
}

// crypt enciphers a device with a key that is always the same one.
func (b *bench) crypt(lower string, block int) string {
	b.Helper()
	return b.mapped(fmt.Sprintf("0 %d crypt aes-xts-plain64 %s 0 %s 0 1 sector_size:%d", sectors(b.size(lower)), strings.Repeat("5a3c", 16), lower, block))
}

// Kinds that keep books of what is written to them.
var bookKinds = []kind{
	{name: "log-writes", build: func(b *bench) *subject {
		path := b.mapped(fmt.Sprintf("0 %d log-writes %s %s", sectors(volumeSize), b.part(volumeSize), b.part(4*volumeSize)))
		return &subject{path: path, source: raw, target: host("layer:log-writes-write")}
	}},
	{name: "era", build: buildEra},
	{name: "snapshot", build: func(b *bench) *subject {
		origin, snap := b.snapshots("P")
		want := b.read(origin, 0, volumeSize)
		return &subject{path: snap, filled: true, source: raw, target: host("layer:snapshot-write"), check: func() {
			b.same("origin after a copy to its snapshot", origin, b.read(origin, 0, volumeSize), want)
		}}
	}},
	{name: "snapshot transient", build: func(b *bench) *subject {
		_, snap := b.snapshots("N")
		return &subject{path: snap, filled: true, source: host("layer:snapshot-transient"), target: host("layer:snapshot-transient")}
	}},
	{name: "snapshot-origin", build: func(b *bench) *subject {
		origin, snap := b.snapshots("PO")
		want := b.read(snap, 0, volumeSize)
		return &subject{path: origin, filled: true, source: raw, target: host("layer:snapshot-origin-write"), check: func() {
			b.same("snapshot after a copy to its origin", snap, b.read(snap, 0, volumeSize), want)
		}}
	}},
	{name: "clone", lacks: []string{vm.KernelOld, vm.KernelDefault}, build: func(b *bench) *subject {
		path := b.mapped(fmt.Sprintf("0 %d clone %s %s %s 64", sectors(volumeSize), b.part(2*mib), b.part(volumeSize), b.filledPart(volumeSize)))
		b.until("clone is hydrated", func() bool {
			f := vm.Status(b, path)
			have, all, _ := strings.Cut(f[3], "/")
			return have == all && f[4] == "0"
		})
		return &subject{path: path, filled: true, source: raw, target: raw}
	}},
}

// buildEra looks into the books of era afterwards: the blocks of the copy were
// written in the present era.
func buildEra(b *bench) *subject {
	meta := b.part(2 * mib)
	path := b.mapped(fmt.Sprintf("0 %d era %s %s 128", sectors(volumeSize), meta, b.part(volumeSize)))
	return &subject{path: path, source: raw, target: host("layer:era-write")}
}

// snapshots makes an origin and a snapshot of it that differ, in places of all
// sizes.
func (b *bench) snapshots(store string) (origin, snap string) {
	b.Helper()
	real := b.mapped(fmt.Sprintf("0 %d linear %s 0", sectors(volumeSize), b.part(volumeSize)))
	b.fill(real)
	line := fmt.Sprintf("0 %d snapshot-origin %s", sectors(volumeSize), real)
	origin = b.mapped(line)
	snap = b.mapped(fmt.Sprintf("0 %d snapshot %s %s %s 16", sectors(volumeSize), real, b.part(2*volumeSize+4*mib), store))
	// The origin finds its snapshots when it is resumed.
	vm.Reload(b, origin, line)
	b.scribble(origin)
	b.scribble(snap)
	return origin, snap
}

// scribble stamps runs of a device, up to half of it.
func (b *bench) scribble(path string) {
	b.Helper()
	seed := b.newSeed()
	step := b.size(path) / 32
	for i := range int64(32) {
		length := min(4*kib<<(i%9), step/2)
		vm.Stamp(b, path, seed, i*step+i%5*4*kib, length)
	}
}

// Kinds that check what they read.
var checkedKinds = []kind{
	{name: "verity", build: func(b *bench) *subject { return b.verity(nil, "layer:verity") }},
	{name: "verity trusted", build: func(b *bench) *subject { return b.verity([]string{"--trust-verity"}, "") }},
	{name: "integrity", build: func(b *bench) *subject { return b.integrity("direct", nil, "layer:integrity", "layer:integrity") }},
	{name: "integrity trusted", build: func(b *bench) *subject {
		return b.integrity("direct", []string{"--trust-integrity"}, "", "layer:integrity-write")
	}},
	{name: "integrity bitmap", build: func(b *bench) *subject {
		return b.integrity("bitmap", []string{"--trust-integrity"}, "", "layer:integrity-write")
	}},
	{name: "integrity journal", build: func(b *bench) *subject {
		return b.integrity("journal", []string{"--trust-integrity"}, "layer:integrity-journal", "layer:integrity-journal")
	}},
}

// Kinds that keep copies on a faster disk.
var cacheKinds = []kind{
	{name: "cache writethrough", build: func(b *bench) *subject {
		path := b.cache("writethrough")
		return &subject{path: path, source: raw, target: host("layer:cache-write")}
	}},
	{name: "cache dirty", build: func(b *bench) *subject {
		path := b.cache("writeback")
		b.fill(path)
		b.promote(path)
		// What has no room to migrate is never idle, and does not clean (dm-cache-policy-smq.c).
		vm.Message(b, path, "migration_threshold", "0")
		return &subject{path: path, filled: true, source: host("layer:cache-dirty"), target: host("layer:cache-dirty")}
	}},
	{name: "writecache dirty", build: func(b *bench) *subject {
		return &subject{path: b.writecache(""), source: host("layer:writecache-dirty"), target: host("layer:writecache-dirty")}
	}},
	{name: "writecache clean", build: func(b *bench) *subject {
		path := b.writecache("")
		b.fill(path)
		vm.Message(b, path, "flush")   // before the other: see the suite of layers
		vm.Message(b, path, "cleaner") // which its table does not show
		b.until("writecache is clean", func() bool {
			f := vm.Status(b, path)
			return f[1] == f[2] && f[3] == "0"
		})
		return &subject{path: path, filled: true, source: raw, target: host("layer:writecache-write")}
	}},
	{name: "writecache cleaning", build: func(b *bench) *subject {
		return &subject{path: b.writecache(" cleaner"), source: raw, target: raw}
	}},
}

func (b *bench) cache(mode string) string {
	b.Helper()
	return b.mapped(fmt.Sprintf("0 %d cache %s %s %s 128 2 metadata2 %s smq 0", sectors(volumeSize), b.part(2*mib), b.part(volumeSize), b.part(volumeSize), mode))
}

// promote writes to a cache until something has stayed in it.
func (b *bench) promote(path string) {
	b.Helper()
	seed := b.newSeed()
	b.until("dirty blocks", func() bool {
		for range 8 {
			vm.Stamp(b, path, seed, 4*mib, 64*kib)
		}
		return vm.Status(b, path)[10] != "0"
	})
}

func (b *bench) writecache(options string) string {
	b.Helper()
	return b.mapped(fmt.Sprintf("0 %d writecache s %s %s 4096 %d%s", sectors(volumeSize), b.part(volumeSize), b.part(2*volumeSize),
		len(strings.Fields(options)), options))
}

// multipath makes one device of both paths of a disk, in groups of their own,
// and builds everything from now on upon it: nobody else can have the disk.
func (b *bench) multipath(mode string) {
	b.Helper()
	ways := waysTo(b.T, paths)
	b.base = b.mapped(fmt.Sprintf("0 %d multipath 3 queue_if_no_path %s 0 2 1 service-time 0 1 1 %s 1 round-robin 0 1 1 %s 1",
		sectors(paths.Size), mode, ways[0], ways[1]))
}

// waysTo finds a disk under all of its names.
func waysTo(t *testing.T, d vm.Disk) (found []string) {
	t.Helper()
	serials, err := filepath.Glob("/sys/block/nvme*/device/serial")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range serials {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if strings.TrimSpace(string(text)) == d.Serial {
			found = append(found, "/dev/"+strings.Split(file, "/")[3])
		}
	}
	if len(found) != d.Controllers {
		t.Fatalf("paths of %s: %v", d.Serial, found)
	}
	return found
}
