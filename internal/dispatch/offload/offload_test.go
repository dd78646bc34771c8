package offload

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"

	"github.com/dmcopy/dmcopy/copydomain"
	"github.com/dmcopy/dmcopy/internal/dispatch/account"
	"github.com/dmcopy/dmcopy/internal/dispatch/ends"
	"github.com/dmcopy/dmcopy/internal/dispatch/machine"
	"github.com/dmcopy/dmcopy/internal/dispatch/plan"
	"github.com/dmcopy/dmcopy/internal/dispatch/plan/plantest"
	"github.com/dmcopy/dmcopy/internal/dispatch/track"
	"github.com/dmcopy/dmcopy/internal/dispatch/window"
	"github.com/dmcopy/dmcopy/remap"
	"golang.org/x/sys/unix"
)

// written makes the step that writes the first half.
func written(t *testing.T, st *remap.Stack, devs map[string]remap.Dev) window.Offload {
	t.Helper()
	key := plan.Key{Src: devs["disk"], Dst: devs["disk"]}
	for e, err := range st.Resolve(remap.Write, remap.Range{Dev: devs["top"], Len: 100}) {
		if err != nil {
			t.Fatal(err)
		}
		return window.Offload{key: {{Len: 100 * remap.SectorSize, Via: e.Via, DstLeaf: st.Node(devs["disk"])}}}
	}
	t.Fatal("nothing resolved")
	return nil
}

// noise is a Watch that always has an event.
type noise struct{ machine.NoWatch }

func (noise) Events() <-chan struct{} {
	woken := make(chan struct{})
	close(woken)
	return woken
}

// noisy is a machine with such a watch.
type noisy struct{ machine.Machine }

func (noisy) Watch() machine.Watch { return noise{} }

// TestMovedBelowCommands: every device on the way of the commands counts, and no other.
func TestMovedBelowCommands(t *testing.T) {
	st, devs := plantest.Forked(t, false, remap.Owner{})
	o := &Offloader{opts: Options{Dst: devs["top"]}}
	for name, want := range map[string]bool{"top": true, "one": true, "disk": true, "two": false} {
		err := o.movedBelowCommands(t.Context(), nil, written(t, st, devs), []remap.Change{{Dev: devs[name], Name: name, What: "layout changed"}}, nil)
		if (err != nil) != want {
			t.Errorf("%s changed: %v, want an error: %v", name, err, want)
		}
	}
	both := []remap.Change{{Dev: devs["two"]}, {Dev: devs["one"]}}
	lost := errors.New("lost")
	if err := o.movedBelowCommands(t.Context(), nil, written(t, st, devs), both, lost); !errors.Is(err, lost) {
		t.Errorf("the second of two changes: %v", err)
	}
}

// flusher is a copier of which only the flush matters.
type flusher struct {
	copydomain.Copier
	err error
}

func (f flusher) Flush(context.Context) error { return f.err }

func leafOf(minor uint32, driver, identity string) *remap.Node {
	return &remap.Node{Dev: remap.Dev{Major: 8, Minor: minor}, Size: 8, Leaf: &remap.Leaf{Driver: driver, Identity: identity}}
}

// TestFlushByAnyPath: what one path to a disk cannot flush another one can, but
// never another disk.
func TestFlushByAnyPath(t *testing.T) {
	ok, dead := flusher{}, flusher{err: unix.EIO}
	type end struct {
		leaf *remap.Node
		flusher
	}
	for name, c := range map[string]struct {
		ends []end
		want error
	}{
		"two paths":       {[]end{{leafOf(1, "scsi", "naa.1"), dead}, {leafOf(2, "scsi", "naa.1"), ok}}, nil},
		"both are dead":   {[]end{{leafOf(1, "scsi", "naa.1"), dead}, {leafOf(2, "scsi", "naa.1"), dead}}, unix.EIO},
		"two disks":       {[]end{{leafOf(1, "scsi", "naa.1"), dead}, {leafOf(2, "scsi", "naa.2"), ok}}, unix.EIO},
		"without a name":  {[]end{{leafOf(1, "scsi", ""), dead}, {leafOf(2, "scsi", ""), ok}}, unix.EIO},
		"namespaces":      {[]end{{leafOf(1, "nvme", "eui.1"), dead}, {leafOf(2, "nvme", "eui.1"), ok}}, unix.EIO},
		"nothing to tell": {nil, nil},
	} {
		o := &Offloader{pairs: make(map[plan.Key]*pairState)}
		for _, e := range c.ends {
			o.pairs[plan.Key{Dst: e.leaf.Dev}] = &pairState{copier: e.flusher, disk: plan.DiskOf(e.leaf)}
		}
		if err := o.Flush(t.Context()); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

// TestInOrderIsNotCut: what was not begun of a zone cannot be written after what
// follows it.
func TestInOrderIsNotCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		layout := track.New(noisy{}, plan.Request{Dst: ends.Endpoint{Dev: remap.Dev{Major: 8}}}, 0, slog.New(slog.DiscardHandler))
		layout.Listen()
		layout.Follow(&plan.Plan{})
		for _, inOrder := range []bool{true, false} {
			counts := account.New(func(account.Progress) {})
			o := &Offloader{opts: Options{InOrder: inOrder}, layout: layout, account: counts}
			stop := o.watchLayout(t.Context(), func(error) { t.Error("cut") })
			synctest.Wait()
			stop()
			if looked := counts.Counted(account.Looks) > 0; looked == inOrder {
				t.Errorf("looked %d times", counts.Counted(account.Looks))
			}
		}
	})
}
