package resolver

import (
	"fmt"
	"strconv"

	"github.com/dmcopy/dmcopy/remap"
	"github.com/dmcopy/dmcopy/test/vm"
)

var cacheKinds = []kind{
	{name: "cache/through", needs: []string{"cache"}, trials: 2, build: func(b *bench) []*subject { return buildCache(b, "writethrough", inPlace) }},
	{name: "cache/pass", needs: []string{"cache"}, build: func(b *bench) []*subject { return buildCache(b, "passthrough", inPlace) }},
	{name: "cache/clean", needs: []string{"cache"}, build: buildCacheClean},
	{name: "cache/dirty", needs: []string{"cache"}, build: func(b *bench) []*subject { return buildCache(b, "writeback", dataParts) }},
	{name: "writecache/dirty", needs: []string{"writecache"}, build: func(b *bench) []*subject { return buildWritecache(b, false) }},
	{name: "writecache/clean", needs: []string{"writecache"}, trials: 2, build: func(b *bench) []*subject { return buildWritecache(b, true) }},
	{name: "clone/partly", needs: []string{"clone"}, build: func(b *bench) []*subject { return buildClone(b, false) }},
	{name: "clone/done", needs: []string{"clone"}, build: func(b *bench) []*subject { return buildClone(b, true) }},
}

// cacheLine is a table of the target "cache".
type cacheLine struct {
	n                   remap.Sector
	meta, cache, origin string
	block               remap.Sector
}

func (l *cacheLine) of(mode, policy string) string {
	return fmt.Sprintf("0 %d cache %s %s %s %d 2 metadata2 %s %s 0", l.n, l.meta, l.cache, l.origin, l.block, mode, policy)
}

func newCache(b *bench) *cacheLine {
	l := &cacheLine{n: b.between(2000, 4000, 8), block: pick(b, remap.Sector(64), 128)}
	l.meta, l.cache, l.origin = b.part(b.zeroed(4096)), b.part(b.take(20*l.block)), b.part(b.take(l.n))
	return l
}

// dirty is how many blocks of a cache are not on the origin. Fields 0 to 9 are
// fixed, see Documentation/admin-guide/device-mapper/cache.rst.
func (b *bench) dirty(path string) string { return vm.Status(b, path)[10] }

func buildCache(b *bench, mode string, read answers) []*subject {
	l := newCache(b)
	path := b.mapped(l.of(mode, "smq"))
	b.fill(path)
	b.scribble(path, 8)
	return []*subject{{path: path, name: mode, read: read, write: opaque}}
}

// buildCacheClean has written everything back.
func buildCacheClean(b *bench) []*subject {
	l := newCache(b)
	path := b.mapped(l.of("writeback", "smq"))
	b.fill(path)
	b.scribble(path, 8)
	vm.Reload(b, path, l.of("writeback", "cleaner"))
	b.until("cache is clean", func() bool { return b.dirty(path) == "0" })
	return []*subject{{path: path, read: inPlace, write: opaque}}
}

func buildWritecache(b *bench, clean bool) []*subject {
	n := b.between(2000, 4000, 8)
	store := b.zeroed(5000)
	path := b.mapped(fmt.Sprintf("0 %d writecache s %s %s 4096 0", n, b.part(b.take(n)), b.part(store)))
	b.scribble(path, 8)
	if !clean {
		return []*subject{{path: path, read: dataParts, write: opaque}}
	}
	// In this order: the other way round has crashed 6.1 and 6.12 (list corruption
	// in writecache_writeback).
	vm.Message(b, path, "flush")
	vm.Message(b, path, "cleaner")
	b.until("writecache is clean", func() bool {
		f := vm.Status(b, path)
		return f[0] == "0" && f[1] == f[2] && f[3] == "0"
	})
	return []*subject{{path: path, read: inPlace, write: dataParts}}
}

func buildClone(b *bench, done bool) []*subject {
	n, region := b.between(2000, 4000, 8), pick(b, 8, 64, 256)
	feature := " 1 no_hydration"
	if done {
		feature = ""
	}
	path := b.mapped(fmt.Sprintf("0 %d clone %s %s %s %d%s", n, b.part(b.zeroed(2048)), b.part(b.take(n)), b.part(b.take(n)), region, feature))
	if !done {
		b.scribble(path, 8)
		return []*subject{{path: path, read: dataParts, write: dataParts}}
	}
	b.until("clone is hydrated", func() bool {
		f := vm.Status(b, path)
		hydrating, err := strconv.Atoi(f[4])
		var have, all int
		_, scanErr := fmt.Sscanf(f[3], "%d/%d", &have, &all)
		return err == nil && scanErr == nil && hydrating == 0 && have == all
	})
	return []*subject{{path: path, read: inPlace, write: dataParts, followed: true}}
}
