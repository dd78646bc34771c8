package resolver

import (
	"fmt"

	"github.com/dmcopy/dmcopy/remap"
	"github.com/dmcopy/dmcopy/test/vm"
)

// Targets that leave data in place and do something beside.
var serviceKinds = []kind{
	{name: "flakey", needs: []string{"flakey"}, trials: 2, build: buildFlakey},
	{name: "log-writes", needs: []string{"log-writes"}, build: buildLogWrites},
	{name: "era", needs: []string{"era"}, trials: 2, build: buildEra},
	{name: "switch", needs: []string{"switch"}, build: buildSwitch},
	{name: "multipath", needs: []string{"multipath"}, trials: 4, build: buildMultipath},
}

// buildFlakey never comes to the time in which it fails.
func buildFlakey(b *bench) []*subject {
	n := b.between(1000, 4000, 1)
	features := pick(b, "", " 1 drop_writes", " 1 error_writes")
	path := b.mapped(fmt.Sprintf("0 %d flakey %s 3600 0%s", n, b.place(n), features))
	return []*subject{{path: path, read: dataParts, write: dataParts, followed: true}}
}

func buildLogWrites(b *bench) []*subject {
	n := b.between(1000, 3000, 1)
	path := b.mapped(fmt.Sprintf("0 %d log-writes %s %s", n, b.part(b.take(n)), b.part(b.take(4*n+4000))))
	b.fill(path)
	return []*subject{{path: path, read: inPlace, write: opaque, followed: true}}
}

func buildEra(b *bench) []*subject {
	n := b.between(1000, 4000, 1)
	meta, origin := b.part(b.zeroed(2048)), b.part(b.take(n))
	path := b.mapped(fmt.Sprintf("0 %d era %s %s %d", n, meta, origin, pick(b, 8, 24, 128)))
	b.fill(path)
	return []*subject{{path: path, read: inPlace, write: opaque, followed: true}}
}

// buildSwitch asks for regions by message: no table shows them.
func buildSwitch(b *bench) []*subject {
	n := remap.Sector(1024)
	path := b.mapped(fmt.Sprintf("0 %d switch 2 64 0 %s %s", n, b.place(n), b.place(n)))
	vm.Message(b, path, "set_region_mappings", "0:1", "1:0", "2:1")
	return []*subject{{path: path, read: opaque, write: opaque}}
}

// buildMultipath makes one device of the two paths of a disk.
func buildMultipath(b *bench) []*subject {
	paths := b.pool.paths
	n := b.between(1000, 6000, 1)
	b.taken = append(b.taken, run{paths[0], 0, n})
	selector := func(name string, each string, dev ...int) string {
		words := fmt.Sprintf("%s 0 %d %d", name, len(dev), len(each)/2)
		for _, d := range dev {
			words += " " + paths[d].dev.String() + each
		}
		return words
	}
	mode := pick(b, "0", "2 queue_mode bio", "3 queue_if_no_path queue_mode mq")
	groups := pick(b, "1 1 "+selector("round-robin", " 1", 0, 1),
		"2 1 "+selector("round-robin", " 1", 1)+" "+selector("round-robin", " 1", 0),
		"2 2 "+selector("service-time", " 1 1", 1)+" "+selector("queue-length", " 1", 0))
	path := b.mapped(fmt.Sprintf("0 %d multipath %s 0 %s", n, mode, groups))
	b.fill(path)
	return []*subject{{path: path, read: inPlace, write: inPlace, followed: mode == "2 queue_mode bio"}}
}
