package changes

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/dmcopy/dmcopy/copydomain"
	"github.com/dmcopy/dmcopy/dispatch"
	"github.com/dmcopy/dmcopy/internal/dispatch/ends"
	"github.com/dmcopy/dmcopy/internal/dispatch/machine"
	"github.com/dmcopy/dmcopy/internal/dispatch/plan"
	"github.com/dmcopy/dmcopy/internal/layout/watch"
	"github.com/dmcopy/dmcopy/internal/sysblock"
	"github.com/dmcopy/dmcopy/remap"
	"github.com/dmcopy/dmcopy/test/copying"
	"github.com/dmcopy/dmcopy/test/vm"
)

// verbose logs what is for debugging, too.
func verbose(t *testing.T) *slog.Logger {
	return slog.New(slog.NewTextHandler(logWriter{t}, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// listener is a Watcher that a test listens with.
type listener struct {
	*watch.Watcher
	t    *testing.T
	devs []remap.Dev
}

func listen(t *testing.T, paths ...string) *listener {
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
	e := &listener{w, t, nil}
	for _, path := range paths {
		dev, err := ends.FindDevice(sysblock.FS(""), path)
		if err != nil {
			t.Fatal(err)
		}
		e.devs = append(e.devs, dev)
	}
	return e
}

// during counts the events of each source while do runs. The kernel has sent an event
// when the call that causes it returns, and the watcher has counted it before Follow
// returns.
func (e *listener) during(do func()) map[string]int64 {
	e.t.Helper()
	e.Follow(e.devs)
	before := e.Counts()
	do()
	e.Follow(e.devs)
	counts := e.Counts()
	for name := range counts {
		counts[name] -= before[name]
	}
	return counts
}

// TestEvents: what happens to a device causes an event of each source that has one, and
// what happens to another one, or is only asked for, is not.
func TestEvents(t *testing.T) {
	d := newDisk(t)
	src := d.part("src", mib)
	d.part("other", mib)
	table := fmt.Sprintf("0 %d linear %s %d", mib/remap.SectorSize, d.path, d.next)
	reload := func(name string) {
		vm.Run(t, "dmsetup", "load", name, "--table", table)
		vm.Run(t, "dmsetup", "resume", name)
	}
	ours, disk := listen(t, src, d.path), listen(t, d.path)
	for _, tc := range []struct {
		name            string
		e               *listener
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
			for _, dev := range ours.devs {
				if err := os.WriteFile(filepath.Join("/sys/dev/block", dev.String(), "uevent"), []byte("change"), 0); err != nil {
					t.Error(err)
				}
			}
		}, false, false},
	} {
		counts := tc.e.during(tc.do)
		t.Logf("%s: %v", tc.name, counts)
		if counts["device-mapper"] > 0 != tc.mapper || counts["uevents"] > 0 != tc.uevents || counts["md"] > 0 {
			t.Errorf("%s: %v", tc.name, counts)
		}
	}
}

// TestArrayEvents: an array that loses a member says so in its files.
func TestArrayEvents(t *testing.T) {
	a := assemble(newDisk(t), "raid1", 2, "--assume-clean", "--bitmap=none")
	e := listen(t, a.path)
	counts := e.during(func() {
		a.fail(1)
		vm.Eventually(t, "a lost member", func() error {
			if lost := a.get("degraded"); lost != "1" {
				return fmt.Errorf("degraded %s", lost)
			}
			return nil
		})
		<-e.Events()
	})
	t.Log(counts)
	if counts["md"] == 0 {
		t.Errorf("%v", counts)
	}
}

// disturbed is a machine on which something happens in the middle of the second batch
// of commands, the first of which is the proof. The copier waits then until it is told
// that no further command is to be begun.
type disturbed struct {
	machine.Machine
	t      *testing.T
	happen func()

	batches int
	begun   int64 // bytes, until then
}

// Copier implements [machine.Machine].
func (d *disturbed) Copier(ctx context.Context, pair copydomain.Pair, opt copydomain.CopyOptions) (copydomain.Copier, error) {
	c, err := d.Machine.Copier(ctx, pair, opt)
	return disturbedCopier{c, d}, err
}

type disturbedCopier struct {
	copydomain.Copier
	by *disturbed
}

// Copy implements [copydomain.Copier].
func (c disturbedCopier) Copy(ctx context.Context, moves []copydomain.Move) (copydomain.Result, error) {
	c.by.batches++
	switch c.by.batches {
	case 1:
		c.by.begun += moves[0].Len.Bytes()
		return c.Copier.Copy(ctx, moves)
	case 2:
		return c.interrupted(ctx, moves)
	}
	return c.Copier.Copy(ctx, moves)
}

func (c disturbedCopier) interrupted(ctx context.Context, moves []copydomain.Move) (copydomain.Result, error) {
	first, last := moves[0], slices.Clone(moves)
	first.Len = mib / remap.SectorSize
	c.by.begun += first.Len.Bytes()
	last[0] = copydomain.Move{Src: first.Src + first.Len, Dst: first.Dst + first.Len, Len: last[0].Len - first.Len}
	before, err := c.Copier.Copy(ctx, []copydomain.Move{first})
	if err != nil {
		return before, err
	}
	began := time.Now()
	c.by.happen()
	c.by.t.Logf("it took %v", time.Since(began))
	select {
	case <-ctx.Done():
		c.by.t.Logf("and was counts after %v", time.Since(began))
	case <-time.After(copying.Patience):
		c.by.t.Error("nothing was counts")
	}
	after, err := c.Copier.Copy(ctx, last)
	return copydomain.Result{
		Commands: before.Commands + after.Commands,
		Redo:     slices.Concat(before.Redo, after.Redo), Fenced: slices.Concat(before.Fenced, after.Fenced),
	}, err
}

// cutShort copies while something happens to the source, and makes sure that what was
// not begun then is offloaded all the same.
func cutShort(t *testing.T, src, dst string, size int64, happen func()) {
	t.Helper()
	vm.Stamp(t, dst, cutSeed+1, 0, size) // what is equal before proves nothing, and is never cut
	d := &disturbed{t: t, happen: happen}
	way := copying.Way{Between: func(m machine.Machine) machine.Machine { d.Machine = m; return d }}
	report, err := way.Copy(src, dst, dispatch.Options{Log: verbose(t)})
	if err != nil {
		t.Fatalf("%v, %+v", err, report)
	}
	t.Logf("%+v", *report)
	vm.CheckStamp(t, dst, cutSeed, 0, 0, size)
	if report.LayoutChanges != 1 || report.Redone != d.begun || report.Offloaded != size-d.begun || because(report, plan.ReasonLayoutChanged) != d.begun {
		t.Errorf("%d bytes were begun, %+v", d.begun, report)
	}
}

// cutSeed is what sources hold.
const cutSeed = 900

// TestCutShort: a window whose source gets another table, another name or another
// state in the middle of it ends there.
func TestCutShort(t *testing.T) {
	const size = 4 * mib
	t.Run("table", func(t *testing.T) {
		d := newDisk(t)
		one, two, dst := d.part("one", size), d.part("two", size), d.part("dst", size)
		vm.Stamp(t, one, cutSeed, 0, size)
		vm.Stamp(t, two, cutSeed, 0, size)
		table := func(path string) string { return fmt.Sprintf("0 %d linear %s 0", sectors(size), path) }
		src := vm.Mapped(t, "src", table(one))
		cutShort(t, src, dst, size, func() {
			vm.Run(t, "dmsetup", "load", "src", "--table", table(two))
			vm.Run(t, "dmsetup", "resume", "src")
		})
	})
	t.Run("name", func(t *testing.T) {
		d := newDisk(t)
		src, dst := d.part("src", size), d.part("dst", size)
		vm.Stamp(t, src, cutSeed, 0, size)
		cutShort(t, src, dst, size, func() { vm.Run(t, "dmsetup", "rename", "src", "renamed") })
		vm.Run(t, "dmsetup", "rename", "renamed", "src")
	})
	t.Run("state", func(t *testing.T) {
		d := newDisk(t)
		a := assemble(d, "raid1", 2, "--assume-clean", "--bitmap=none")
		dst := d.part("dst", a.size)
		vm.Stamp(t, a.path, cutSeed, 0, a.size)
		cutShort(t, a.path, dst, a.size, func() { a.fail(0) })
	})
}
