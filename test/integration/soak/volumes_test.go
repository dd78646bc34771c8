package soak

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dmcopy/dmcopy/test/vm"
)

// group is a volume group of which logical volumes are copied while LVM works on it. A file system in a volume beside
// them is written to all the time.
type group struct {
	*trial
	near []byte // what a neighbour holds
}

const (
	groupName    = "soakvg"
	volumeSize   = 640 * kib
	neighbour    = "/dev/" + groupName + "/near"
	neighbourLen = 256 * kib
)

// volumes copies between logical volumes.
func (l *lab) volumes(t *testing.T, rng *rand.Rand) {
	disks := []string{l.disks[0], l.disks[3], l.disks[1+rng.IntN(2)]}
	vm.Run(t, "vgcreate", append([]string{"-y", "-s", "64k", "--metadatasize", "128k", "--dataalignment", "64k", groupName}, disks...)...)
	defer func() {
		vm.Run(t, "vgremove", "-ff", "-y", groupName)
		vm.Run(t, "pvremove", append([]string{"-ff", "-y"}, disks...)...)
	}()
	lvcreate := func(name string, size int64, args ...string) {
		vm.Run(t, "lvcreate", append([]string{"-y", "-Wn", "-Zn", "-n", name, "-L", fmt.Sprintf("%db", size), groupName}, args...)...)
	}
	lvcreate("src", volumeSize, disks[rng.IntN(2)])
	lvcreate("dst", volumeSize, disks[rng.IntN(2)])
	lvcreate("near", neighbourLen)
	lvcreate("fs", mib)
	stop := l.writer(t)
	defer stop()
	for range 2 {
		vm.Stamp(t, "/dev/"+groupName+"/src", rng.Uint64(), 0, volumeSize)
		g := &group{trial: &trial{lab: l, t: t, rng: rng, src: "/dev/" + groupName + "/src", dst: "/dev/" + groupName + "/dst", length: volumeSize}}
		g.near = vm.Aligned(t, neighbourLen)
		vm.Stamp(t, neighbour, rng.Uint64(), 0, neighbourLen)
		vm.ReadDirect(t, neighbour, g.near, 0)
		g.run()
		if t.Failed() {
			return
		}
	}
}

// writer writes to a file system on a volume, until it is stopped; then that has to be clean.
func (l *lab) writer(t *testing.T) (stop func()) {
	device, dir := "/dev/"+groupName+"/fs", t.TempDir()
	vm.Run(t, "mkfs.ext4", "-q", "-F", device)
	vm.Run(t, "mount", device, dir)
	end, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		for i := 0; ; i++ {
			select {
			case <-end:
				ended <- nil
				return
			case <-time.After(10 * time.Millisecond):
			}
			path := filepath.Join(dir, fmt.Sprint("file", i%8))
			if err := os.WriteFile(path, bytes.Repeat([]byte{byte(i)}, 8*kib), 0o600); err != nil {
				ended <- err
				return
			}
		}
	}()
	return func() {
		close(end)
		if err := <-ended; err != nil {
			t.Error(err)
		}
		vm.Run(t, "umount", dir)
		vm.Run(t, "fsck.ext4", "-f", "-n", device)
	}
}

// run copies while an LVM command or two run, and has it go on if it was killed.
func (g *group) run() {
	g.choose()
	g.args = append(g.args[:len(g.args)-2:len(g.args)-2], "--rate", "512K", g.src, g.dst)
	g.settle(g.t)
	g.want = vm.Aligned(g.t, g.length)
	vm.ReadDirect(g.t, g.src, g.want, 0)
	for attempt := 0; ; attempt++ {
		var events []event
		if attempt < 2 {
			for range 1 + g.rng.IntN(2) {
				e := g.command()
				e.at = time.Duration(len(events)*1000+g.rng.IntN(700)) * time.Millisecond
				events = append(events, e)
			}
		}
		if g.once(events) || g.t.Failed() {
			break
		}
		g.checkDone()
	}
	g.count("trials", 1)
	g.count("trials between logical volumes", 1)
	if g.state != "" {
		if err := os.Remove(g.state); err != nil && !g.t.Failed() {
			g.t.Error(err)
		}
	}
	got := vm.Aligned(g.t, g.length)
	vm.ReadDirect(g.t, g.dst, got, 0)
	if !bytes.Equal(got, g.want) {
		g.t.Error("the destination is not equal to the source")
	}
	vm.ReadDirect(g.t, g.src, got, 0)
	if !bytes.Equal(got, g.want) {
		g.t.Error("the source was changed")
	}
	near := vm.Aligned(g.t, neighbourLen)
	vm.ReadDirect(g.t, neighbour, near, 0)
	if !bytes.Equal(near, g.near) {
		g.t.Error("a neighbour was changed")
	}
	if g.t.Failed() {
		g.t.Logf("dmcopy %q, %v", g.args, g.happens)
	}
}

// command draws an LVM command, or something worse.
func (g *group) command() event {
	kinds := []event{
		{name: "pvmove", do: g.pvmove}, {name: "pvmove", do: g.pvmove}, {name: "pvmove", do: g.pvmove},
		{name: "lvextend", do: g.extend},
		{name: "lvextend and lvreduce", do: g.resize},
		{name: "snapshot", do: g.snapshot},
		{name: "kill", do: g.kill},
		{name: "fault of the target", do: g.breakTarget},
	}
	return kinds[g.rng.IntN(len(kinds))]
}

// pvmove moves one of the volumes elsewhere.
func (g *group) pvmove() {
	g.calm() // what is broken cannot be moved
	g.excuse("suspended")
	volume := []string{"src", "dst", "dst"}[g.rng.IntN(3)]
	from, _, _ := strings.Cut(strings.TrimSpace(vm.Run(g.t, "lvs", "--noheadings", "-o", "devices", groupName+"/"+volume)), "(")
	out, err := vm.TryRun("pvmove", "-i", "1", "-n", volume, from)
	if err != nil && !strings.Contains(err.Error(), "nsufficient") {
		g.t.Fatalf("%v%s", err, out)
	}
}

// extend makes one of the volumes longer, unless its copy has to go on: that is one of ends of the same size.
func (g *group) extend() {
	g.excuse("suspended")
	volume := []string{"src", "dst", "fs"}[g.rng.IntN(3)]
	if g.state != "" {
		volume = "fs"
	}
	vm.Run(g.t, "lvextend", "-y", "-L", "+64k", groupName+"/"+volume)
}

// resize makes a neighbour longer and shorter again.
func (g *group) resize() {
	g.excuse("suspended")
	vm.Run(g.t, "lvextend", "-y", "-L", "+64k", groupName+"/near")
	vm.Run(g.t, "lvreduce", "-y", "-f", "-L", "-64k", groupName+"/near")
}

// snapshot takes one of a neighbour and gives it back.
func (g *group) snapshot() {
	g.excuse("suspended")
	vm.Run(g.t, "lvcreate", "-y", "-s", "-L", "128k", "-n", "snap", groupName+"/near")
	vm.Run(g.t, "lvremove", "-y", groupName+"/snap")
}
