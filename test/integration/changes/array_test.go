package changes

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/dispatch"
	"github.com/dmcopy/dmcopy/internal/dispatch/account"
	"github.com/dmcopy/dmcopy/remap"
	"github.com/dmcopy/dmcopy/test/vm"
)

// array is an md array.
type array struct {
	t       *testing.T
	path    string
	level   string
	members []string
	size    int64 // bytes
}

// memberSize makes arrays of 8 MiB to 20 MiB.
const memberSize = 10 * mib

// assemble makes an array of parts of the disk, in sync, gone with the test.
func assemble(d *disk, level string, count int, extra ...string) *array {
	t := d.t
	t.Helper()
	a := &array{t: t, path: "/dev/md77", level: level}
	for i := range count {
		m := d.part(fmt.Sprint("leg", i), memberSize)
		clean(t, m)
		a.members = append(a.members, m)
	}
	args := []string{"--create", a.path, "--run", "--quiet", "--homehost=any", "--metadata=1.2", "--level=" + level, fmt.Sprintf("--raid-devices=%d", count)}
	if level != "linear" {
		args = append(args, "--data-offset=1M")
	}
	vm.Run(t, "mdadm", append(append(args, extra...), a.members...)...)
	t.Cleanup(func() {
		vm.Eventually(t, "stop of "+a.path, func() error {
			_, err := vm.TryRun("mdadm", "--stop", a.path)
			return err
		})
	})
	size, err := os.ReadFile(filepath.Join("/sys/block/md77/size"))
	if err != nil {
		t.Fatal(err)
	}
	n, err := remap.ParseSector(strings.TrimSpace(string(size)))
	if err != nil {
		t.Fatal(err)
	}
	a.size = n.Bytes() / mib * mib
	return a
}

func (a *array) get(name string) string {
	text, err := os.ReadFile(filepath.Join("/sys/block/md77/md", name))
	if err != nil {
		a.t.Error(err)
	}
	return strings.TrimSpace(string(text))
}

// set writes an attribute. Threads that have done their work stay for a moment,
// in which some attributes cannot be changed.
func (a *array) set(name, value string) {
	vm.Eventually(a.t, name+" = "+value, func() error {
		return os.WriteFile(filepath.Join("/sys/block/md77/md", name), []byte(value), 0)
	})
}

// act makes the array check or repair itself. Linux 6.1 was seen to take an
// interrupted action for one that goes on; it is told again to be idle.
func (a *array) act(action string) {
	file := filepath.Join("/sys/block/md77/md", "sync_action")
	vm.Eventually(a.t, action, func() error {
		err := os.WriteFile(file, []byte(action), 0)
		if errors.Is(err, unix.EBUSY) {
			err = errors.Join(err, os.WriteFile(file, []byte("idle"), 0))
		}
		return err
	})
}

func (a *array) state(i int, value string) {
	path, err := filepath.EvalSymlinks(a.members[i])
	if err == nil && !strings.HasPrefix(filepath.Base(path), "dm-") {
		path = kernelName(a.t, filepath.Base(a.members[i]))
	}
	if err != nil {
		a.t.Fatal(err)
	}
	a.set("dev-"+filepath.Base(path)+"/state", value)
}

// recoverSlowly bounds how fast members are brought into sync, so that it lasts
// longer than a copy; recoverFast takes the bound away.
func (a *array) recoverSlowly() {
	a.set("sync_speed_min", "100")
	a.set("sync_speed_max", "400")
}

func (a *array) recoverFast() {
	a.set("sync_speed_max", "system")
	a.set("sync_speed_min", "system")
}

// rest waits until the array is whole and nothing goes on.
func (a *array) rest() {
	a.t.Helper()
	vm.Eventually(a.t, "array in sync", func() error {
		if action, lost := a.get("sync_action"), a.get("degraded"); action != "idle" || lost != "0" {
			return fmt.Errorf("%s, degraded %s", action, lost)
		}
		return nil
	})
}

// scrub fails the test unless all copies and parities agree.
func (a *array) scrub() {
	a.t.Helper()
	a.rest()
	a.act("check")
	a.rest()
	if n := a.get("mismatch_cnt"); n != "0" {
		a.t.Errorf("mismatch_cnt is %s", n)
	}
}

// fail makes a member fail.
func (a *array) fail(i int) { vm.Run(a.t, "mdadm", "--quiet", a.path, "--fail", a.members[i]) }

// remove takes a failed member out.
func (a *array) remove(i int) {
	vm.Eventually(a.t, "removal", func() error {
		_, err := vm.TryRun("mdadm", "--quiet", a.path, "--remove", a.members[i])
		return err
	})
}

// add brings a member back that holds something else by now.
func (a *array) add(i int) {
	vm.Stamp(a.t, a.members[i], foreign+7, 0, memberSize)
	vm.Run(a.t, "mdadm", "--quiet", a.path, "--add", a.members[i])
}

// readd brings a member back with what it missed.
func (a *array) readd(i int) { vm.Run(a.t, "mdadm", "--quiet", a.path, "--re-add", a.members[i]) }

// trouble is what happens to an array during a copy, in this order, after the
// first of it has happened between the plan and the first window.
type trouble struct {
	name string
	// shows tells that the array is another one afterwards.
	shows bool
	first func(*array)
	then  []func(*array)
}

var troubles = []trouble{
	{"a member is lost and rebuilt", true, func(a *array) { a.fail(0) }, []func(*array){
		func(a *array) { a.remove(0) },
		func(a *array) { a.add(0) },
	}},
	{"a member fails, comes back, and all are checked", false, func(a *array) { a.fail(1) }, []func(*array){
		func(a *array) { a.remove(1) },
		func(a *array) { a.recoverFast(); a.readd(1) },
		func(a *array) { a.rest(); a.recoverSlowly(); a.act("check") },
		func(a *array) { a.set("sync_action", "idle") },
		func(a *array) { a.act("repair") },
	}},
}

// copy copies between an array and another device while the trouble goes on.
func (a *array) copy(src, dst string, what trouble) *account.Report {
	t := a.t
	t.Helper()
	a.recoverSlowly()
	fast := vm.Slowly(t, alpha, pace)
	begun := make(chan struct{})
	var once sync.Once
	ended := start(t, src, dst, dispatch.Options{Window: window / 2, Progress: func(p account.Progress) {
		if p.Phase == account.PhaseCopying {
			once.Do(func() { what.first(a); close(begun) })
		}
	}})
	var r result
	select {
	case <-begun:
		steps := 0
		for _, step := range what.then {
			if len(ended) == 0 {
				steps++
			}
			step(a)
		}
		r = <-ended
		t.Logf("%d of %d things happened during the copy", 1+steps, 1+len(what.then))
	case r = <-ended:
	}
	fast()
	report := r.must(t)
	a.recoverFast()
	return report
}

// kinds of arrays whose members can be lost.
var redundant = []struct {
	level string
	count int
	extra []string
}{
	{"raid1", 3, []string{"--bitmap=internal"}},
	{"raid10", 4, []string{"--bitmap=internal", "--layout=n2", "--chunk=64"}},
	{"raid5", 3, []string{"--bitmap=internal", "--chunk=64"}},
	{"raid6", 4, []string{"--bitmap=internal", "--chunk=64"}},
}

// TestArrayInTrouble copies from and to arrays that lose members, get them back,
// and are checked. The content stands still, so that copies are what it is.
func TestArrayInTrouble(t *testing.T) {
	for i, kind := range redundant {
		if testing.Short() && i%2 == 1 {
			continue
		}
		t.Run(kind.level, func(t *testing.T) {
			d := newDisk(t)
			a := assemble(d, kind.level, kind.count, kind.extra...)
			other := d.part("other", a.size)
			a.rest()
			seed := uint64(50 + i)
			vm.Stamp(t, a.path, seed, 0, a.size)
			for _, what := range troubles {
				vm.Stamp(t, other, foreign, 0, a.size)
				report := a.copy(a.path, other, what)
				holds(t, other, seed, a.size)
				if report.Offloaded == 0 || what.shows && report.LayoutChanges == 0 {
					t.Errorf("%s: %+v", what.name, report)
				}
				a.rest()
				holds(t, a.path, seed, a.size)
			}
			if kind.level == "raid1" {
				a.writeMostly(other, seed)
			}
			if kind.level == "raid10" {
				a.recovering(other, seed)
			}
			seed += 10
			vm.Stamp(t, other, seed, 0, a.size)
			what := troubles[i%2]
			report := a.copy(other, a.path, what)
			if report.Host != a.size {
				t.Errorf("%s: %+v", what.name, report)
			}
			a.rest()
			holds(t, a.path, seed, a.size)
			a.scrub()
		})
	}
}

// writeMostly makes the first leg one that is not read during a copy.
func (a *array) writeMostly(other string, seed uint64) {
	vm.Stamp(a.t, other, foreign, 0, a.size)
	a.copy(a.path, other, trouble{first: func(a *array) { a.state(0, "writemostly") }, then: []func(*array){
		func(a *array) { a.state(0, "-writemostly") },
		func(a *array) { a.state(1, "writemostly") },
	}})
	a.state(1, "-writemostly")
	holds(a.t, other, seed, a.size)
}

// recovering copies an array that is being recovered from the beginning on, and
// gets whole during the copy.
func (a *array) recovering(other string, seed uint64) {
	vm.Stamp(a.t, other, foreign, 0, a.size)
	a.recoverSlowly()
	a.fail(2)
	a.remove(2)
	a.add(2)
	a.copy(a.path, other, trouble{first: func(a *array) {
		if action := a.get("sync_action"); action != "recover" {
			a.t.Errorf("the array should recover and is %s", action)
		}
	}, then: []func(*array){(*array).recoverFast}})
	holds(a.t, other, seed, a.size)
	a.rest()
}
