package live

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/dmcopy/dmcopy/dispatch"
	"github.com/dmcopy/dmcopy/remap"
	"github.com/dmcopy/dmcopy/snapshot/watch"
	"github.com/dmcopy/dmcopy/sysblock"
	"github.com/dmcopy/dmcopy/test/vm"
)

// verbose logs what is for debugging, too.
func verbose(t *testing.T) *slog.Logger {
	return slog.New(slog.NewTextHandler(logWriter{t}, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// ear is a Watcher that a test listens with.
type ear struct {
	*watch.Watcher
	t    *testing.T
	devs []remap.Dev
}

func listen(t *testing.T, paths ...string) *ear {
	t.Helper()
	w, err := watch.Open("", verbose(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	e := &ear{w, t, nil}
	for _, path := range paths {
		dev, err := dispatch.FindDevice(sysblock.FS(""), path)
		if err != nil {
			t.Fatal(err)
		}
		e.devs = append(e.devs, dev)
	}
	return e
}

// during is how often each source wakes while something is done. The kernel has
// told of it when the call that does it returns, and what was told is heard before
// Concern returns.
func (e *ear) during(do func()) map[string]int64 {
	e.t.Helper()
	e.Concern(e.devs)
	before := e.Counts()
	do()
	e.Concern(e.devs)
	heard := e.Counts()
	for name := range heard {
		heard[name] -= before[name]
	}
	return heard
}

// TestHeard: what happens to a device is heard of, by whom the kernel tells it, and
// what happens to another one, or is only asked for, is not.
func TestHeard(t *testing.T) {
	d := newDisk(t)
	src, other := d.part("src", mib), d.part("other", mib)
	table := fmt.Sprintf("0 %d linear %s %d", mib/remap.SectorSize, d.path, d.next)
	uevent := func(path string) string {
		target, err := filepath.EvalSymlinks(path)
		if err != nil {
			t.Fatal(err)
		}
		return filepath.Join("/sys/block", filepath.Base(target), "uevent")
	}
	reload := func(name string) {
		vm.Run(t, "dmsetup", "load", name, "--table", table)
		vm.Run(t, "dmsetup", "resume", name)
	}
	ours, disk := listen(t, src, d.path), listen(t, d.path)
	for _, tc := range []struct {
		name            string
		e               *ear
		do              func()
		mapper, uevents bool
	}{
		{"nothing", ours, func() {}, false, false},
		{"a table that is loaded", ours, func() { vm.Run(t, "dmsetup", "load", "src", "--table", table) }, false, false},
		{"a table that is resumed", ours, func() { vm.Run(t, "dmsetup", "resume", "src") }, true, true},
		{"a table of another device", ours, func() { reload("other") }, true, false}, // which is all that device-mapper tells
		{"a table above", disk, func() { reload("src") }, false, false},
		{"a name", ours, func() {
			vm.Run(t, "dmsetup", "rename", "src", "renamed")
			vm.Run(t, "dmsetup", "rename", "renamed", "src")
		}, true, true},
		{"asked for", ours, func() {
			for _, path := range []string{src, other, d.path} {
				if err := os.WriteFile(uevent(path), []byte("change"), 0); err != nil {
					t.Error(err)
				}
			}
		}, false, false},
	} {
		heard := tc.e.during(tc.do)
		t.Logf("%s: %v", tc.name, heard)
		if heard["device-mapper"] > 0 != tc.mapper || heard["uevents"] > 0 != tc.uevents || heard["md"] > 0 {
			t.Errorf("%s: %v", tc.name, heard)
		}
	}
}

// TestArrayHeard: an array that loses a member says so in its files.
func TestArrayHeard(t *testing.T) {
	a := assemble(newDisk(t), "raid1", 2, "--assume-clean", "--bitmap=none")
	e := listen(t, a.path)
	heard := e.during(func() {
		a.fail(1)
		vm.Eventually(t, "a lost member", func() error {
			if lost := a.get("degraded"); lost != "1" {
				return fmt.Errorf("degraded %s", lost)
			}
			return nil
		})
		<-e.Woken()
	})
	t.Log(heard)
	if heard["md"] == 0 {
		t.Errorf("%v", heard)
	}
}

// cutSeed is what sources hold.
const cutSeed = 900

// cutShort copies in one window that lasts for seconds, and does something to the
// source in the middle of it. Most of the window has not been begun by then.
func cutShort(t *testing.T, src, dst string, size int64, do func()) {
	t.Helper()
	const early = mib
	vm.Stamp(t, src, cutSeed, 0, size)
	vm.Slowly(t, alpha, 4*mib)
	ended := start(t, src, dst, dispatch.Options{InFlight: 1, Window: size, Log: verbose(t)})
	vm.Eventually(t, "the first commands", func() error { return vm.TryStamp(dst, cutSeed, early, early, remap.SectorSize) })
	began := time.Now()
	do()
	t.Logf("done in %v", time.Since(began))
	rep := (<-ended).must(t)
	vm.CheckStamp(t, dst, cutSeed, 0, 0, size)
	if rep.LayoutChanges == 0 || rep.Redone == 0 || rep.Redone > size/2 {
		t.Errorf("the window was not cut short: %+v", rep)
	}
}

// TestCutShort: a window whose source gets another table, another name or another
// state in the middle of it ends there.
func TestCutShort(t *testing.T) {
	t.Run("table", func(t *testing.T) {
		d := newDisk(t)
		one, two, dst := d.part("one", copySize), d.part("two", copySize), d.part("dst", copySize)
		vm.Stamp(t, two, cutSeed, 0, copySize)
		table := func(path string) string { return fmt.Sprintf("0 %d linear %s 0", sectors(copySize), path) }
		src := vm.Mapped(t, "src", table(one))
		cutShort(t, src, dst, copySize, func() {
			vm.Run(t, "dmsetup", "load", "src", "--table", table(two))
			vm.Run(t, "dmsetup", "resume", "src")
		})
	})
	t.Run("name", func(t *testing.T) {
		d := newDisk(t)
		src, dst := d.part("src", copySize), d.part("dst", copySize)
		cutShort(t, src, dst, copySize, func() { vm.Run(t, "dmsetup", "rename", "src", "renamed") })
		vm.Run(t, "dmsetup", "rename", "renamed", "src")
	})
	t.Run("state", func(t *testing.T) {
		d := newDisk(t)
		a := assemble(d, "raid1", 2, "--assume-clean", "--bitmap=none")
		cutShort(t, a.path, d.part("dst", a.size), a.size, func() { a.fail(0) })
	})
}
