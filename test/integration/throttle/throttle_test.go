// Package throttle compares the model of the kernel's throttle, on which the tests of the anchor rest, with kernels.
// The guest has one CPU, so that the throttle's clock stands still while it decides, and the kernel says in its log what it
// did when: the model has to say the same, to the jiffy and to the byte.
package throttle

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/test/blkthrottle"
	"github.com/dmcopy/dmcopy/test/vm"
)

const (
	mib     = 1 << 20
	largest = 256 << 10
	root    = "/sys/fs/cgroup"
	tracing = "/sys/kernel/tracing"
	atOnce  = 40 // schedules
)

var leaf = vm.Disk{Serial: "leaf", Size: 64 * mib}

var (
	schedules = flag.Int("schedules", 400, "how many random schedules")
	seed      = flag.Uint64("seed", 1, "of the schedules")
)

func TestMain(m *testing.M) {
	if device := os.Getenv(readerEnv); device != "" {
		if err := readerMain(device); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	vm.Main(m, vm.Machine{CPUs: 1, Disks: []vm.Disk{leaf}})
}

// rules are those of the running kernel.
func rules(t *testing.T) blkthrottle.Rules {
	t.Helper()
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		t.Fatal(err)
	}
	release := unix.ByteSliceToString(u.Release[:])
	t.Logf("Linux %s", release)
	switch {
	case strings.HasPrefix(release, "6.1."):
		return blkthrottle.Rules{Wraps: true, Least: 2}
	case strings.HasPrefix(release, "6.12."):
		return blkthrottle.Rules{Least: 2}
	case strings.HasPrefix(release, "7."):
		return blkthrottle.Rules{Signed: true, Least: 1}
	}
	t.Fatalf("the model does not know the rules of Linux %s", release)
	return blkthrottle.Rules{}
}

// step is something that is done to a group, at a time.
type step struct {
	group int
	at    time.Duration
	limit uint64 // or 0
	bytes int64  // of a read
}

// schedule is what is done to one group, from a time on. In the end everything is let go.
func schedule(chance *rand.Rand, group int, least uint64) []step {
	at := time.Duration(chance.Int64N(int64(400 * time.Millisecond)))
	logarithmic := func(most float64) float64 { return math.Exp(chance.Float64() * math.Log(most)) }
	limit := func() uint64 {
		if chance.IntN(8) == 0 {
			return blkthrottle.Unlimited
		}
		return max(least, uint64(logarithmic(2<<20)))
	}
	steps := []step{{group: group, at: at, limit: limit()}}
	for range 3 + chance.IntN(8) {
		if chance.IntN(4) > 0 { // else at once
			at += time.Duration(logarithmic(float64(700 * time.Millisecond)))
		}
		s := step{group: group, at: at}
		if chance.IntN(2) == 0 {
			s.limit = limit()
		} else {
			s.bytes = []int64{512, 4096, 65536, 512 * (1 + chance.Int64N(largest/512))}[chance.IntN(4)]
		}
		steps = append(steps, s)
	}
	return append(steps, step{group: group, at: at + time.Duration(chance.Int64N(int64(time.Second))), limit: blkthrottle.Unlimited})
}

// TestThrottle carries out random schedules, and has the model repeat them.
func TestThrottle(t *testing.T) {
	rules, disk := rules(t), vm.Device(t, leaf)
	name := filepath.Base(disk)
	number, err := vm.DeviceNumber(disk)
	if err != nil {
		t.Fatal(err)
	}
	write(t, "+io", root, "cgroup.subtree_control")
	r := startReader(t, disk)
	write(t, "blk", tracing, "current_tracer")
	write(t, "1", tracing, "options/blk_cgroup")
	write(t, "32768", tracing, "buffer_size_kb")
	write(t, "1", "/sys/block", name, "trace/enable")
	write(t, "notify,queue", "/sys/block", name, "trace/act_mask")
	var sum counts
	for done := 0; done < *schedules; done += atOnce {
		chance := rand.New(rand.NewPCG(*seed, uint64(done)))
		var steps []step
		for group := range atOnce {
			steps = append(steps, schedule(chance, group, rules.Least)...)
		}
		slices.SortStableFunc(steps, func(a, b step) int { return cmp.Compare(a.at, b.at) })
		write(t, "", tracing, "trace")
		write(t, "1", tracing, "tracing_on")
		carryOut(t, r, number, done, steps)
		sum.add(compare(t, rules))
	}
	t.Logf("%d schedules from seed %d: %+v", *schedules, *seed, sum)
	if min(sum.letGo, sum.slices, sum.timers, sum.dispatched) < *schedules || min(sum.passes, sum.fires, sum.carryovers) < *schedules/10 {
		t.Error("too little was compared")
	}
}

// carryOut does the steps, each in its time or later.
func carryOut(t *testing.T, r *reader, number string, first int, steps []step) {
	t.Helper()
	var groups []string
	for i := range atOnce {
		dir := fmt.Sprintf("%s/throttle-%d", root, first+i)
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		groups = append(groups, dir)
	}
	began, begun := time.Now(), 0
	for _, s := range steps {
		time.Sleep(s.at - time.Since(began))
		switch dir := groups[s.group]; {
		case s.limit == blkthrottle.Unlimited:
			write(t, number+" rbps=max", dir, "io.max")
		case s.limit > 0:
			write(t, fmt.Sprintf("%s rbps=%d", number, s.limit), dir, "io.max")
		default:
			r.read(dir, 0, s.bytes)
			begun++
		}
	}
	vm.Eventually(t, "everything is let go", func() error {
		notes, err := parse(lines(t, filepath.Join(tracing, "trace")))
		if err != nil {
			return err
		}
		if came := ours(notes); came < begun {
			return fmt.Errorf("%d of %d reads have come to the disk", came, begun)
		}
		return nil
	})
	write(t, "0", tracing, "tracing_on")
	for _, dir := range groups {
		if err := os.Remove(dir); err != nil && !errors.Is(err, unix.EBUSY) { // the reader is in one
			t.Error(err)
		}
	}
}

// compare has the model repeat what the trace says.
func compare(t *testing.T, rules blkthrottle.Rules) counts {
	t.Helper()
	notes, err := parse(lines(t, filepath.Join(tracing, "trace")))
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range notes { // CONFIG_HZ: a slice is a tenth of a second
		if start, end, ok := n.slice(); ok && n.is("[R] new slice start=") {
			rules.Slice, rules.HZ = end-start, 10*(end-start)
			break
		}
	}
	if !slices.Contains([]int64{100, 250, 300, 1000}, rules.HZ) {
		t.Fatalf("%d notes, and by them the kernel has HZ=%d", len(notes), rules.HZ)
	}
	counts, err := follow(notes, rules)
	if err != nil {
		t.Fatal(err)
	}
	return counts
}

// TestLeast: which limits are accepted.
func TestLeast(t *testing.T) {
	rules, disk := rules(t), vm.Device(t, leaf)
	number, err := vm.DeviceNumber(disk)
	if err != nil {
		t.Fatal(err)
	}
	write(t, "+io", root, "cgroup.subtree_control")
	dir := filepath.Join(root, "least")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(dir) })
	for limit := range uint64(4) {
		err := os.WriteFile(filepath.Join(dir, "io.max"), []byte(fmt.Sprintf("%s rbps=%d", number, limit)), 0)
		if (err == nil) != (limit >= rules.Least) {
			t.Errorf("limit %d: %v", limit, err)
		}
	}
}
