package resolver

import (
	"fmt"
	"strings"

	"github.com/dmcopy/dmcopy/test/vm"
)

// Volumes as LVM makes them.
var lvmKinds = []kind{
	lvmKind("linear", inPlace, inPlace, "-L1536k"),
	lvmKind("striped", inPlace, inPlace, "-L1536k", "-i3", "-I16k"),
	lvmKind("raid0", inPlace, inPlace, "-L1536k", "--type=raid0", "-i3", "-I16k"),
	lvmKind("mirror", readLegs, anyLegs, "-L1536k", "--type=mirror", "-m1", "--mirrorlog=core"),
	lvmKind("raid1", readLegs, anyLegs, "-L1536k", "--type=raid1", "-m1"),
	lvmKind("raid10", readLegs, anyLegs, "-L1536k", "--type=raid10", "-i2", "-I16k"),
	lvmKind("raid5", inPlace, opaque, "-L1536k", "--type=raid5", "-i3", "-I16k"),
	lvmKind("raid6", inPlace, opaque, "-L1536k", "--type=raid6", "-i3", "-I16k"),
	{name: "lvm/snapshot", needs: []string{"snapshot"}, build: buildLVMSnapshot},
	{name: "lvm/thin", needs: []string{"thin"}, build: buildLVMThin},
	{name: "lvm/cache", needs: []string{"cache"}, build: buildLVMCache},
}

// group makes a volume group on five partitions, gone with the trial.
func (b *bench) group() string {
	b.Helper()
	b.pool.names++
	name := fmt.Sprintf("vg-%d", b.pool.names)
	var disks []string
	for range 5 {
		disks = append(disks, b.part(b.take(b.between(16000, 20000, 8))))
	}
	vm.GroupOf(b, name, "64k", disks...)
	return name
}

func lvmKind(name string, read, write answers, args ...string) kind {
	return kind{name: "lvm/" + name, build: func(b *bench) []*subject {
		group := b.group()
		path := vm.VolumeOf(b, group, "volume", args...)
		b.until("volume in sync", func() bool {
			done := strings.TrimSpace(vm.Run(b, "lvs", "--noheadings", "--options=copy_percent", group+"/volume"))
			return done == "" || strings.HasPrefix(done, "100")
		})
		b.fill(path)
		return []*subject{{path: path, name: name, read: read, write: write}}
	}}
}

func buildLVMSnapshot(b *bench) []*subject {
	group := b.group()
	origin := vm.VolumeOf(b, group, "origin", "-L2m")
	b.fill(origin)
	vm.Run(b, "lvcreate", "--yes", "--quiet", "--snapshot", "--name=snap", "-L3m", group+"/origin")
	snap := "/dev/" + group + "/snap"
	b.scribble(origin, 8)
	b.scribble(snap, 8)
	return []*subject{
		{path: snap, name: "snapshot", read: inPlace, write: opaque, followed: true},
		{path: origin, name: "origin", read: inPlace, write: opaque, followed: true},
	}
}

func buildLVMThin(b *bench) []*subject {
	group := b.group()
	vm.Run(b, "lvcreate", "--yes", "--quiet", "--type=thin-pool", "-L6m", "--poolmetadatasize=2m", "--chunksize=64k", "--name=pool", group)
	vm.Run(b, "lvcreate", "--yes", "--quiet", "--wipesignatures=n", "--type=thin", "--virtualsize=8m", "--thinpool=pool", "--name=thin", group)
	thin := "/dev/" + group + "/thin"
	b.scribble(thin, 8)
	vm.Run(b, "lvcreate", "--yes", "--quiet", "--snapshot", "--setactivationskip=n", "--name=snap", group+"/thin")
	snap := "/dev/" + group + "/snap"
	b.scribble(snap, 8)
	b.scribble(thin, 8)
	return []*subject{
		{path: thin, name: "origin", read: thinParts, write: thinWrites},
		{path: snap, name: "snapshot", read: thinParts, write: thinWrites},
	}
}

func buildLVMCache(b *bench) []*subject {
	group := b.group()
	origin := vm.VolumeOf(b, group, "origin", "-L2m")
	vm.VolumeOf(b, group, "fast", "-L2m")
	vm.Run(b, "lvconvert", "--yes", "--quiet", "--type=cache", "--cachevol=fast", "--cachemode=writethrough", "--chunksize=32k", group+"/origin")
	b.fill(origin)
	b.scribble(origin, 8)
	return []*subject{{path: origin, read: inPlace, write: opaque}}
}
