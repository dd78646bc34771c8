package resolver

import (
	"fmt"
	"strings"

	"github.com/dmcopy/dmcopy/remap"
	"github.com/dmcopy/dmcopy/test/vm"
)

var mirrorKinds = []kind{
	{name: "mirror", needs: []string{"mirror"}, trials: 3, build: buildMirror},
}

// What redundant data may be read from: one leg, or several.
var (
	readLegs = answers{[]remap.Kind{remap.Replica, remap.Data}, 1}
	someLegs = answers{[]remap.Kind{remap.Replica, remap.Data}, 0}
)

func buildMirror(b *bench) []*subject {
	n := b.between(2000, 4000, 8)
	legs := 2 + b.IntN(2)
	region := pick(b, 64, 128, 1024)
	log := pick(b, "core 2 %d nosync", "core 1 %d", "core 2 %d sync")
	if b.IntN(2) == 0 {
		log = "disk 2 " + b.part(b.zeroed(256)) + " %d"
	}
	line := fmt.Sprintf("0 %d mirror %s %d", n, fmt.Sprintf(log, region), legs)
	for range legs {
		line += " " + b.place(n)
	}
	line += pick(b, "", " 1 handle_errors")
	path := b.mapped(line)
	b.until("mirror in sync", func() bool {
		done, all, _ := strings.Cut(vm.Status(b, path)[1+legs], "/")
		return done == all
	})
	b.fill(path)
	return []*subject{{path: path, read: readLegs, write: anyLegs, followed: true}}
}
