package layercopies

import (
	"fmt"
	"strings"

	"github.com/dmcopy/dmcopy/test/vm"
)

// Volumes as LVM makes them.
var volumeKinds = []kind{
	{name: "lvm linear and striped", build: func(b *bench) *subject {
		g := b.group(2, 20*mib)
		path := g.volume("volume", "-L8m")
		vm.Run(b, "lvextend", "--quiet", "-L16m", "-i2", "-I64k", path)
		return &subject{path: path, source: raw, target: raw}
	}},
	{name: "lvm mirror", build: func(b *bench) *subject {
		g := b.group(3, 20*mib)
		s := g.synced("-L16m", "--type=mirror", "-m1", "--mirrorlog=core")
		s.source, s.target = raw, host("layer:redundant-destination")
		s.check = func() { g.equal("volume_mimage_0", "volume_mimage_1") }
		return s
	}},
	{name: "lvm raid1", build: func(b *bench) *subject {
		g := b.group(2, 20*mib)
		s := g.synced("-L16m", "--type=raid1", "-m1")
		s.source, s.target = raw, host("layer:redundant-destination")
		s.check = func() { g.scrub(); g.equal("volume_rimage_0", "volume_rimage_1") }
		return s
	}},
	{name: "lvm raid10", build: func(b *bench) *subject {
		g := b.group(4, 12*mib)
		s := g.synced("-L16m", "--type=raid10", "-i2", "-I64k")
		s.source, s.target = raw, host("layer:redundant-destination")
		s.check = func() {
			g.scrub()
			g.equal("volume_rimage_0", "volume_rimage_1")
			g.equal("volume_rimage_2", "volume_rimage_3")
		}
		return s
	}},
	{name: "lvm raid5", build: func(b *bench) *subject {
		g := b.group(3, 12*mib)
		s := g.synced("-L16m", "--type=raid5", "-i2", "-I64k")
		s.source, s.target, s.check = raw, host("layer:raid5-parity"), g.scrub
		return s
	}},
	{name: "lvm snapshot", build: func(b *bench) *subject {
		g := b.group(1, 64*mib)
		origin := g.volume("origin", "-L16m")
		b.fill(origin)
		vm.Run(b, "lvcreate", "--yes", "--quiet", "--snapshot", "--name=snap", "-L24m", g.name+"/origin")
		b.scribble(origin)
		b.scribble(g.path("snap"))
		want := b.read(origin, 0, volumeSize)
		return &subject{path: g.path("snap"), filled: true, source: raw, target: host("layer:snapshot-write"), check: func() {
			b.same("origin after a copy to its snapshot", origin, b.read(origin, 0, volumeSize), want)
		}}
	}},
	{name: "lvm thin", build: func(b *bench) *subject {
		p := b.group(2, 40*mib).pool()
		path := p.thin("thin")
		b.fill(path)
		return &subject{path: path, filled: true, source: raw, target: raw, check: p.rests}
	}},
	{name: "lvm thin, half of it mapped", build: func(b *bench) *subject {
		p := b.group(2, 40*mib).pool()
		path := p.thin("thin")
		b.scribble(path)
		return &subject{path: path, filled: true, source: partlyZero, target: partly("layer:thin-unmapped"), check: p.rests}
	}},
	{name: "lvm thin, shared", build: func(b *bench) *subject {
		p := b.group(2, 60*mib).pool()
		path := p.thin("thin")
		b.fill(path)
		snap := p.snapshot("snap", "thin")
		b.scribble(path)
		want := b.read(snap, 0, volumeSize)
		return &subject{path: path, filled: true, source: raw, target: partly("layer:thin-shared"), check: func() {
			p.rests()
			b.same("snapshot after a copy to its origin", snap, b.read(snap, 0, volumeSize), want)
		}}
	}},
	{name: "thin pool of nobody", build: func(b *bench) *subject {
		// Nothing keeps others from making a snapshot of the volume meanwhile.
		tpool := b.mapped(fmt.Sprintf("0 %d thin-pool %s %s 128 0", sectors(2*volumeSize), b.part(2*mib), b.part(2*volumeSize)))
		vm.Message(b, tpool, "create_thin", "0")
		path := b.mapped(fmt.Sprintf("0 %d thin %s 0", sectors(volumeSize), tpool))
		b.fill(path)
		p := &pool{path: tpool, group: &group{bench: b}}
		return &subject{path: path, filled: true, source: raw, target: host("hold:unavailable"), check: p.rests}
	}},
	{name: "lvm cache", build: func(b *bench) *subject {
		g := b.group(2, 40*mib)
		origin := g.volume("origin", "-L16m")
		g.volume("fast", "-L16m")
		vm.Run(b, "lvconvert", "--yes", "--quiet", "--type=cache", "--cachevol=fast", "--cachemode=writethrough", "--chunksize=64k", g.name+"/origin")
		return &subject{path: origin, source: raw, target: host("layer:cache-write")}
	}},
}

// group is a volume group.
type group struct {
	*bench
	name string
}

// group makes a volume group of partitions.
func (b *bench) group(count int, size int64) *group {
	b.Helper()
	var disks []string
	for range count {
		disks = append(disks, b.part(size))
	}
	return b.groupOf(disks...)
}

func (b *bench) groupOf(disks ...string) *group {
	b.Helper()
	g := &group{b, strings.Replace(b.newName(), "kind", "vg", 1)}
	vm.GroupOf(b, g.name, "512k", disks...)
	return g
}

func (g *group) path(volume string) string { return "/dev/" + g.name + "/" + volume }

func (g *group) volume(name string, args ...string) string {
	g.Helper()
	return vm.VolumeOf(g, g.name, name, args...)
}

// synced makes a redundant volume and waits until it is.
func (g *group) synced(args ...string) *subject {
	g.Helper()
	path := g.volume("volume", args...)
	g.until("volume in sync", func() bool {
		return strings.HasPrefix(strings.TrimSpace(vm.Run(g, "lvs", "--noheadings", "--options=copy_percent", g.name+"/volume")), "100")
	})
	return &subject{path: path}
}

// equal compares the legs of a volume.
func (g *group) equal(one, other string) {
	g.Helper()
	dm := func(leg string) string { return "/dev/mapper/" + g.name + "-" + leg }
	if err := vm.Compare(dm(one), 0, dm(other), 0, g.size(dm(one))); err != nil {
		g.Error(err)
	}
}

// scrub has the target "raid" compare copies, or parity: fields 5 and 6 of its
// status are the action and the mismatches (dm-raid.c, raid_status).
func (g *group) scrub() {
	g.Helper()
	dm := "/dev/mapper/" + g.name + "-volume"
	idle := func() bool { return vm.Status(g, dm)[4] == "idle" }
	g.until("volume at rest", idle)
	vm.Message(g, dm, "check")
	g.until("end of the check", idle)
	if s := vm.Status(g, dm); s[5] != "0" {
		g.Errorf("mismatches after a check: %v", s)
	}
}

// pool is a thin pool.
type pool struct {
	*group
	path string
}

// pool makes a pool of half of the group or more.
func (g *group) pool() *pool {
	g.Helper()
	vm.Run(g, "lvcreate", "--yes", "--quiet", "--type=thin-pool", "-L36m", "--poolmetadatasize=2m", "--chunksize=64k", "--name=pool", g.name)
	return &pool{g, "/dev/mapper/" + g.name + "-pool-tpool"}
}

func (p *pool) thin(name string) string {
	p.Helper()
	vm.Run(p, "lvcreate", "--yes", "--quiet", "--wipesignatures=n", "--type=thin", "--virtualsize=16m", "--thinpool=pool", "--name="+name, p.name)
	return p.group.path(name)
}

func (p *pool) snapshot(name, of string) string {
	p.Helper()
	vm.Run(p, "lvcreate", "--yes", "--quiet", "--snapshot", "--setactivationskip=n", "--name="+name, p.name+"/"+of)
	return p.group.path(name)
}

// held is the metadata snapshot of the pool, "-" for none: field 4 of the status
// (dm-thin.c, pool_status).
func (p *pool) held() string {
	p.Helper()
	return vm.Status(p, p.path)[3]
}

// rests finds a metadata snapshot that was left behind.
func (p *pool) rests() {
	p.Helper()
	if root := p.held(); root != "-" {
		p.Errorf("metadata snapshot %s of %s was left behind", root, p.path)
	}
}
