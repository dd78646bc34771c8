// Package soak copies between random stacks on a real kernel while everything happens that may happen: layouts change,
// disks fail, copies are killed, caches are lost with the power. It is the guest's half of `make soak`; the other one is
// TestSoak of package dispatch.
package soak

import (
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/test/target"
	"github.com/dmcopy/dmcopy/test/target/initiator"
	"github.com/dmcopy/dmcopy/test/target/iscsi"
	"github.com/dmcopy/dmcopy/test/vm"
)

const (
	kib = 1 << 10
	mib = 1 << 20

	// diskSize is small: all disks are read as a whole for each trial.
	diskSize = 5 * mib
	// trialsPerStack is how many trials a pair of stacks serves.
	trialsPerStack = 8
)

var (
	seed   = flag.Uint64("seed", 0, "seed of the random trials; 0 takes a new one")
	first  = flag.Int("first", 0, "number of the first stack")
	trials = flag.Int("trials", 2000, "random trials")
)

// The disks that QEMU emulates; two more are units of a target in the guest, with a cache that can be lost.
var (
	one   = vm.Disk{Serial: "one", Size: diskSize, Copy: vm.CopyLimits{MSSRL: 64, MCL: 256, MSRC: 7}}
	two   = vm.Disk{Serial: "two", Size: diskSize, Copy: vm.CopyLimits{MSSRL: 256, MCL: 512, MSRC: 0}}
	plain = vm.Disk{Bus: vm.BusVirtio, Serial: "plain", Size: diskSize}
)

func TestMain(m *testing.M) {
	vm.Main(m, vm.Machine{
		Cmdline:  "loglevel=3",
		Programs: []string{"github.com/dmcopy/dmcopy/cmd/dmcopy"},
		Disks:    []vm.Disk{one, two, plain},
	})
}

// lab is where the trials take place.
type lab struct {
	emulated []vm.Disk // the first of disks
	disks    []string  // paths
	target   *target.Target
	caches   []*target.Cache // of the last disks
	// expected is what the disks hold wherever the destination of a copy does not lie; after and flipped are what they
	// hold after it, and after the complement of its data was written.
	expected, after, flipped image
	pattern                  []byte
	cgroup                   *cgroup // of all copies
	// scratch is a small file system for state files.
	scratch string
	tally   map[string]int
	usual   time.Duration // that a copy takes which nothing disturbs
}

func newLab(t *testing.T) *lab {
	l := &lab{emulated: []vm.Disk{one, two, plain}, tally: make(map[string]int), scratch: t.TempDir(), usual: time.Second}
	for _, d := range l.emulated {
		l.disks = append(l.disks, vm.Device(t, d))
	}
	l.disks = append(l.disks, l.attach(t)...)
	l.cgroup = newCgroup(t, "/sys/fs/cgroup/soak")
	l.expected, l.after, l.flipped = l.newImage(t), l.newImage(t), l.newImage(t)
	l.pattern = vm.Aligned(t, 2*diskSize)
	vm.FillStamp(l.pattern, 1, 0)
	if err := unix.Mount("scratch", l.scratch, "tmpfs", 0, "size=256k"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(l.scratch, 0); err != nil {
			t.Error(err)
		}
	})
	return l
}

// attach makes the units of the target disks of this guest. They copy within themselves by EXTENDED COPY, and to each
// other by tokens.
func (l *lab) attach(t *testing.T) []string {
	config := target.Config{Tokens: target.DefaultTokenLimits(), XCopy: target.DefaultCopyLimits()}
	config.XCopy.Units = 1
	config.Tokens.TransferBlocks = 256 * kib / 512
	for range 2 {
		c := target.NewCache(diskSize)
		l.caches = append(l.caches, c)
		config.Disks = append(config.Disks, target.Disk{Blocks: diskSize / 512, BlockSize: 512, Backing: c})
	}
	made, err := target.New(config)
	if err != nil {
		t.Fatal(err)
	}
	l.target = made
	server, err := iscsi.Serve("127.0.0.1:0", "iqn.2026-01.org.dmcopy:soak", made, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	return initiator.Attach(t, server)
}

// settle makes all that was written durable.
func (l *lab) settle(t *testing.T) {
	for _, c := range l.caches {
		if err := c.Sync(); err != nil {
			t.Fatal(err)
		}
	}
}

// count tells of something that has happened.
func (l *lab) count(what string, n int) { l.tally[what] += n }

func (l *lab) String() string {
	var b strings.Builder
	for _, what := range slices.Sorted(maps.Keys(l.tally)) {
		fmt.Fprintf(&b, "\n%9d %s", l.tally[what], what)
	}
	return b.String()
}

// TestSoak copies between random stacks. Whatever happens in between, a copy that succeeds is a copy, one that does not
// goes on until it does, and nothing but the destination is written to.
func TestSoak(t *testing.T) {
	if *seed == 0 {
		*seed = uint64(time.Now().UnixNano())
	}
	if testing.Short() {
		*trials = min(*trials, 30)
	}
	uname := strings.TrimSpace(vm.Run(t, "uname", "-r"))
	t.Logf("seed %d, Linux %s", *seed, uname)
	l := newLab(t)
	vm.NoUdev(t)
	began := time.Now()
	for n := *first; l.tally["trials"] < *trials && !t.Failed(); n++ {
		rng := rand.New(rand.NewPCG(*seed, uint64(n)))
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			l.stack(t, rng)
			if t.Failed() {
				t.Logf("again: go test -count=1 ./test/integration/soak -seed=%d -first=%d -trials=%d", *seed, n, trialsPerStack)
			}
		})
		if n%20 == 19 {
			fmt.Fprintf(os.Stderr, "soak: %d trials in %v\n", l.tally["trials"], time.Since(began).Round(time.Second))
		}
	}
	t.Logf("%v on %s:%v", time.Since(began).Round(time.Second), uname, l)
	for _, what := range []string{"offloaded bytes", "host bytes", "kill", "power", "move", "moves while the copy was stopped", "layout changes that were seen"} {
		if l.tally[what] == 0 && *trials >= 200 && !t.Failed() {
			t.Errorf("nothing of this happened: %s", what)
		}
	}
}
