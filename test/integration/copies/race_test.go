package copies

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dmcopy/dmcopy/dispatch"
	"github.com/dmcopy/dmcopy/internal/dispatch/account"
	"github.com/dmcopy/dmcopy/internal/dispatch/hold"
	"github.com/dmcopy/dmcopy/test/copying"
	"github.com/dmcopy/dmcopy/test/vm"
)

// result is how a copy in the background ended.
type result struct {
	report *account.Report
	err    error
}

// background starts a copy and returns when it has planned and begins to copy,
// or has failed to.
func background(src, dst string, opts dispatch.Options) <-chan result {
	return backgroundUntil(src, dst, opts, func(p account.Progress) bool { return p.Phase == account.PhaseCopying })
}

// backgroundUntil starts a copy and returns when its progress is such, or when
// it has ended.
func backgroundUntil(src, dst string, opts dispatch.Options, such func(account.Progress) bool) <-chan result {
	ended := make(chan result, 1)
	begun := make(chan struct{})
	var once sync.Once
	opts.Progress = func(p account.Progress) {
		if such(p) {
			once.Do(func() { close(begun) })
		}
	}
	go func() {
		report, err := copying.Copy(src, dst, opts)
		ended <- result{report, err}
		once.Do(func() { close(begun) })
	}()
	<-begun
	return ended
}

// The races run on a disk that is small enough to be compared as a whole, in
// runs of sectors: the device that stays, and the two places of the one that
// moves. All the rest belongs to somebody else.
const (
	movedSectors = 2 * mib / 512
	placeStay    = 1 * mib / 512
	placeOne     = 5 * mib / 512
	placeTwo     = 9 * mib / 512
	foreignSeed  = 1000
)

// stay makes the device that does not move.
func stay(t *testing.T, name, disk string) string {
	vm.Stamp(t, disk, foreignSeed, 0, small.Size)
	return vm.Mapped(t, name, fmt.Sprintf("0 %d linear %s %d", movedSectors, disk, placeStay))
}

// mover moves a dm device between two places of the disk the way pvmove does:
// nothing is lost, and what is given up belongs to somebody else at once.
type mover struct {
	t      *testing.T
	disk   string
	places [2]int64 // sectors
	at     int
	moves  int
}

func newMover(t *testing.T, disk string) *mover {
	m := &mover{t: t, disk: disk, places: [2]int64{placeOne, placeTwo}}
	vm.Mapped(t, "moving", m.table())
	return m
}

func (m *mover) table() string {
	return fmt.Sprintf("0 %d linear %s %d", movedSectors, m.disk, m.places[m.at])
}

// move suspends, moves the data, swaps the table, and lets somebody else use
// what was given up.
func (m *mover) move() {
	t := m.t
	m.checkForeign()
	vm.Run(t, "dmsetup", "suspend", "moving")
	old, new := m.places[m.at], m.places[1-m.at]
	data := vm.Aligned(t, movedSectors*512)
	vm.ReadDirect(t, m.disk, data, old*512)
	vm.WriteDirect(t, m.disk, data, new*512)
	m.at = 1 - m.at
	vm.Run(t, "dmsetup", "load", "moving", "--table", m.table())
	vm.Run(t, "dmsetup", "resume", "moving")
	vm.Stamp(t, m.disk, foreignSeed, old*512, movedSectors*512)
	m.moves++
}

// checkForeign compares every byte of the disk that belongs to neither device.
func (m *mover) checkForeign() {
	m.t.Helper()
	own := []int64{placeStay * 512, m.places[m.at] * 512}
	slices.Sort(own)
	at := int64(0)
	for _, start := range append(own, small.Size) {
		vm.CheckStamp(m.t, m.disk, foreignSeed, at, at, start-at)
		at = start + movedSectors*512
	}
}

// raced copies again and again while disturb runs, until it has run often
// enough, and checks the destination after each copy.
func raced(t *testing.T, src, dst string, seed uint64, disturb func(), enough func() bool) (total account.Report) {
	t.Helper()
	for round := 0; !enough() && round < 40 && !t.Failed(); round++ {
		size := int64(movedSectors * 512)
		vm.Stamp(t, src, seed+uint64(round), 0, size)
		ended := background(src, dst, dispatch.Options{Window: mib / 2})
		var r result
		for running := true; running; {
			select {
			case r = <-ended:
				running = false
			default:
				disturb()
			}
		}
		if r.err != nil {
			t.Fatalf("copy: %v (%+v)", r.err, r.report)
		}
		vm.CheckStamp(t, dst, seed+uint64(round), 0, 0, size)
		total.LayoutChanges += r.report.LayoutChanges
		total.Offloaded += r.report.Offloaded
		total.Host += r.report.Host
		total.Redone += r.report.Redone
		total.Windows += r.report.Windows
	}
	return total
}

// TestDestinationMoves swaps the table of the destination while commands are in
// flight below it.
func TestDestinationMoves(t *testing.T) {
	disk := vm.Device(t, small)
	src := stay(t, "src", disk)
	m := newMover(t, disk)
	vm.Slowly(t, small, 8*mib)
	total := raced(t, src, "/dev/mapper/moving", 50, m.move, func() bool { return m.moves >= 12 })
	m.checkForeign()
	t.Logf("%d moves: %+v", m.moves, total)
	if total.LayoutChanges == 0 || total.Offloaded == 0 {
		t.Errorf("the race did not happen: %+v", total)
	}
}

// TestSourceMoves swaps the table of the source.
func TestSourceMoves(t *testing.T) {
	disk := vm.Device(t, small)
	dst := stay(t, "dst", disk)
	m := newMover(t, disk)
	vm.Slowly(t, small, 8*mib)
	total := raced(t, "/dev/mapper/moving", dst, 150, m.move, func() bool { return m.moves >= 12 })
	m.checkForeign()
	t.Logf("%d moves: %+v", m.moves, total)
	if total.LayoutChanges == 0 || total.Offloaded == 0 {
		t.Errorf("the race did not happen: %+v", total)
	}
}

// TestSuspendStorm suspends and resumes the destination all the time.
func TestSuspendStorm(t *testing.T) {
	disk := vm.Device(t, small)
	src := stay(t, "src", disk)
	m := newMover(t, disk)
	vm.Slowly(t, small, 16*mib)
	storms := 0
	total := raced(t, src, "/dev/mapper/moving", 250, func() {
		// The pauses are the rhythm of the storm: nothing is waited for.
		vm.Run(t, "dmsetup", "suspend", "moving")
		time.Sleep(20 * time.Millisecond)
		vm.Run(t, "dmsetup", "resume", "moving")
		time.Sleep(100 * time.Millisecond)
		storms++
	}, func() bool { return storms >= 12 })
	m.checkForeign()
	t.Logf("%d suspends: %+v", storms, total)
}

// TestSwapBetweenPlanAndIssue swaps the destination after the plan was made.
func TestSwapBetweenPlanAndIssue(t *testing.T) {
	disk := vm.Device(t, small)
	src := stay(t, "src", disk)
	m := newMover(t, disk)
	vm.Stamp(t, src, 77, 0, movedSectors*512)
	// The copying phase begins when the plan is made and nothing is held.
	moved := false
	report := mustCopy(t, src, "/dev/mapper/moving", dispatch.Options{Progress: func(p account.Progress) {
		if p.Phase == account.PhaseCopying && !moved {
			moved = true
			m.move()
		}
	}})
	vm.CheckStamp(t, "/dev/mapper/moving", 77, 0, 0, movedSectors*512)
	m.checkForeign()
	if report.LayoutChanges != 1 || report.Redone != 0 {
		t.Errorf("report: %+v", report)
	}
}

// lvmRace runs an LVM command during a copy within a volume group and returns
// the report. The rest of both disks belongs to others: volumes that were there
// before, and one that gets free space in the middle of the copy.
func lvmRace(t *testing.T, command func(t *testing.T)) *account.Report {
	one, two := vm.Device(t, alpha2), vm.Device(t, beta)
	vm.Group(t, "vg", one, two)
	const size, foreignSize = 192 * mib, 128 * mib
	src, dst := vm.Volume(t, "vg", "a", size, one), vm.Volume(t, "vg", "b", size, one)
	bystanders := map[string]int64{vm.Volume(t, "vg", "near", 440*mib, one): 440 * mib, vm.Volume(t, "vg", "far", 512*mib, two): 512 * mib}
	for path, length := range bystanders {
		vm.Stamp(t, path, 7, 0, length)
	}
	vm.Stamp(t, src, 5, 0, size)
	vm.Settle(t)
	vm.Slowly(t, alpha2, 96*mib)
	ended := backgroundUntil(src, dst, dispatch.Options{}, func(p account.Progress) bool { return p.Offloaded > 0 })
	began := time.Now()
	command(t)
	t.Logf("the command took %v", time.Since(began))
	select {
	case r := <-ended:
		t.Fatalf("the copy was over before the command: %+v %v", r.report, r.err)
	default:
	}
	foreign := vm.Volume(t, "vg", "foreign", foreignSize, one)
	vm.Stamp(t, foreign, 6, 0, foreignSize)
	r := <-ended
	if r.err != nil {
		t.Fatalf("copy: %v (%+v)", r.err, r.report)
	}
	t.Logf("%+v", r.report)
	vm.CheckStamp(t, dst, 5, 0, 0, size)
	vm.CheckStamp(t, src, 5, 0, 0, size)
	vm.CheckStamp(t, foreign, 6, 0, 0, foreignSize)
	for path, length := range bystanders {
		vm.CheckStamp(t, path, 7, 0, 0, length)
	}
	return r.report
}

func TestExtendDuringCopy(t *testing.T) {
	report := lvmRace(t, func(t *testing.T) {
		vm.Run(t, "lvextend", "-y", "-L", "+32m", "vg/b")
		vm.Run(t, "lvextend", "-y", "-L", "+32m", "vg/a")
	})
	if report.LayoutChanges == 0 {
		t.Errorf("lvextend went unnoticed: %+v", report)
	}
}

func TestExtendWithoutLockingDuringCopy(t *testing.T) {
	report := lvmRace(t, func(t *testing.T) {
		vm.Run(t, "lvextend", "--nolocking", "-y", "-L", "+32m", "vg/b")
	})
	if report.LayoutChanges == 0 {
		t.Errorf("lvextend went unnoticed: %+v", report)
	}
}

// pvmove moves the beginning of the destination, 16 extents of 4 MiB, to the
// other disk while the rest is being copied.
func pvmove(t *testing.T, args ...string) {
	vm.Run(t, "pvmove", append(args, "-i1", vm.Device(t, alpha2)+":48-63", vm.Device(t, beta))...)
}

func TestMoveDuringCopy(t *testing.T) {
	report := lvmRace(t, func(t *testing.T) { pvmove(t) })
	movedAlong(t, report)
}

// movedAlong demands of a copy that pvmove was noticed and had nothing copied again.
func movedAlong(t *testing.T, report *account.Report) {
	t.Helper()
	if report.LayoutChanges == 0 || report.Offloaded == 0 || report.Recopied != 0 {
		t.Errorf("pvmove went unnoticed, or for a loss: %+v", report)
	}
}

func TestMoveWithoutLockingDuringCopy(t *testing.T) {
	report := lvmRace(t, func(t *testing.T) { pvmove(t, "--nolocking") })
	movedAlong(t, report)
}

// TestKilled kills a copy while it holds its destination: whoever waited goes on,
// and nothing is left behind.
func TestKilled(t *testing.T) {
	src, dst := pairOn(t, vm.Device(t, alpha))
	vm.Stamp(t, src, 1, 0, faultSectors*512)
	vm.Slowly(t, alpha, 8*mib)
	cmd := exec.Command("dmcopy", "copy", src, dst)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	vm.Eventually(t, "the anchor in flight", func() error {
		limits, err := filepath.Glob("/sys/fs/cgroup/dmcopy-anchor-*/io.max")
		if err != nil || len(limits) == 0 {
			return fmt.Errorf("%d cgroups (%v)", len(limits), err)
		}
		text, err := os.ReadFile(limits[0])
		if err == nil && !strings.Contains(string(text), "rbps=") {
			err = fmt.Errorf("io.max is %q", text)
		}
		return err
	})
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	cmd.Wait()
	vm.Run(t, "timeout", "30", "dmsetup", "suspend", "dst")
	vm.Run(t, "dmsetup", "resume", "dst")
	vm.Eventually(t, "the cgroup", func() error {
		left, err := filepath.Glob("/sys/fs/cgroup/dmcopy-anchor-*")
		if err == nil && len(left) > 0 {
			err = fmt.Errorf("%v is left", left)
		}
		return err
	})
	vm.Eventually(t, "the controller", func() error {
		control, err := os.ReadFile("/sys/fs/cgroup/cgroup.subtree_control")
		if err == nil && strings.Contains(string(control), "io") {
			err = fmt.Errorf("subtree_control is left as %q", control)
		}
		return err
	})
}

// TestHoldModes: a mapped destination is offloaded to only under a hold, and a
// partition needs none.
func TestHoldModes(t *testing.T) {
	src, dst := pairOn(t, vm.Device(t, alpha))
	for mode, offloads := range map[hold.Mode]bool{hold.Auto: true, hold.Trust: true, hold.None: false} {
		vm.Stamp(t, src, 30, 0, faultSectors*512)
		report := mustCopy(t, src, dst, dispatch.Options{Hold: mode})
		vm.CheckStamp(t, dst, 30, 0, 0, faultSectors*512)
		if (report.Offloaded > 0) != offloads {
			t.Errorf("hold %s: %+v", mode, report)
		}
	}
	if left, err := os.ReadFile("/sys/fs/cgroup/cgroup.subtree_control"); err != nil || len(left) > 1 {
		t.Errorf("cgroup.subtree_control left as %q (%v)", left, err)
	}
}
