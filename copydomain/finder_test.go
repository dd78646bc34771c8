package copydomain_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/copydomain"
	"github.com/dmcopy/dmcopy/copydomain/blocks"
	"github.com/dmcopy/dmcopy/copydomain/nvme"
	"github.com/dmcopy/dmcopy/remap"
)

const sector = remap.SectorSize

var roomy = nvme.Limits{RangeBlocks: 64, CommandBlocks: 256, Ranges: 16}

// disk is a namespace in memory and how a snapshot describes it.
type disk struct {
	memory []byte
	loop   *nvme.Loopback
	node   *remap.Node
}

func newDisk(minor uint32, block uint32, limits nvme.Limits) *disk {
	d := &disk{memory: make([]byte, 1<<20)}
	for i := range d.memory {
		d.memory[i] = byte(i>>9) ^ byte(i)
	}
	d.loop = nvme.NewMemoryLoopback(d.memory, block, limits)
	d.node = &remap.Node{
		Dev: remap.Dev{Major: 259, Minor: minor}, Name: fmt.Sprintf("nvme%dn1", minor), Size: remap.Sector(len(d.memory) / sector), BlockSize: int(block),
		Leaf: &remap.Leaf{Driver: "nvme", Zoned: "none", NVMe: &remap.NVMeLeaf{NSID: 1, Subsystem: "nqn", Serial: "LOOP0001"}},
	}
	return d
}

// with returns another description of the disk.
func (d *disk) with(edit func(n *remap.Node)) *remap.Node {
	n, leaf, at := *d.node, *d.node.Leaf, *d.node.Leaf.NVMe
	leaf.NVMe = &at
	n.Leaf = &leaf
	edit(&n)
	return &n
}

func finder(t testing.TB, disks ...*disk) *copydomain.Finder {
	f := copydomain.NewFinderWith(func(leaf *remap.Node) (nvme.Transport, error) {
		for _, d := range disks {
			if d.node.Dev == leaf.Dev {
				return d.loop, nil
			}
		}
		return nil, fs.ErrNotExist
	})
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	return f
}

func TestPair(t *testing.T) {
	d := newDisk(0, 4096, roomy)
	p := finder(t, d).Pair(t.Context(), d.node, d.node)
	if p.Method != copydomain.NVMeCopy || p.Reason != "" || p.Block != 4096 || p.Domain != "nvme:LOOP0001:1" || p.Limits != roomy.String() || p.Src != d.node || p.Dst != d.node {
		t.Errorf("%+v", p)
	}
}

// TestPairByName: the name of the kernel may be the NGUID that the namespace reports.
func TestPairByName(t *testing.T) {
	d := newDisk(0, 512, roomy)
	d.node = d.with(func(n *remap.Node) { n.Leaf.Identity = "eui.00000000000000000000000000000001" })
	if p := finder(t, d).Pair(t.Context(), d.node, d.node); p.Method != copydomain.NVMeCopy {
		t.Errorf("%+v", p)
	}
}

// TestNoPair: leaves that no command spans, and why.
func TestNoPair(t *testing.T) {
	d, other := newDisk(0, 512, roomy), newDisk(1, 512, roomy)
	sd := func(n *remap.Node) { n.Leaf.Driver, n.Leaf.NVMe, n.Dev = "scsi", nil, remap.Dev{Major: 8} }
	tests := []struct {
		name     string
		src, dst *remap.Node
		want     remap.Reason
	}{
		{"NVMe and SCSI", d.node, d.with(sd), copydomain.ReasonDifferentDevices},
		{"SCSI", d.with(sd), d.with(sd), copydomain.ReasonNoMethod},
		{"zoned source", d.with(func(n *remap.Node) { n.Leaf.Zoned = "host-managed" }), d.node, copydomain.ReasonZoned},
		{"zoned destination", d.node, d.with(func(n *remap.Node) { n.Leaf.Zoned = "host-aware" }), copydomain.ReasonZoned},
		{"zone model unknown", d.node, d.with(func(n *remap.Node) { n.Leaf.Zoned = "" }), copydomain.ReasonZoned},
		{"another subsystem", d.node, other.with(func(n *remap.Node) { n.Leaf.NVMe.Subsystem = "other" }), copydomain.ReasonOtherSubsystem},
		{"another namespace", d.node, other.with(func(n *remap.Node) { n.Leaf.NVMe.NSID = 2 }), copydomain.ReasonOtherNamespace},
		{"equal in all but the device", d.node, other.node, copydomain.ReasonOtherNamespace},
		{"another serial", d.node, d.with(func(n *remap.Node) { n.Leaf.NVMe.Serial = "X" }), copydomain.ReasonIdentity},
		{"another name", d.node, d.with(func(n *remap.Node) { n.Leaf.Identity = "eui.00000000000000000000000000000002" }), copydomain.ReasonIdentity},
		{"another short name", d.node, d.with(func(n *remap.Node) { n.Leaf.Identity = "eui.0000000000000001" }), copydomain.ReasonIdentity},
		{"another size", d.node, d.with(func(n *remap.Node) { n.Size-- }), copydomain.ReasonIdentity},
		{"another block size", d.node, d.with(func(n *remap.Node) { n.BlockSize = 4096 }), copydomain.ReasonIdentity},
		{"another namespace ID", d.node, d.with(func(n *remap.Node) { n.Leaf.NVMe.NSID = 7 }), copydomain.ReasonProbeFailed},
		{"a driver that nobody knows", d.with(func(n *remap.Node) { n.Leaf.Driver, n.Leaf.NVMe = "", nil }), d.with(func(n *remap.Node) { n.Leaf.Driver, n.Leaf.NVMe = "", nil }), copydomain.ReasonNoMethod},
		{"gone", d.with(func(n *remap.Node) { n.Dev.Minor = 9 }), d.with(func(n *remap.Node) { n.Dev.Minor = 9 }), copydomain.ReasonProbeFailed},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := finder(t, d, other)
			p := f.Pair(t.Context(), tt.src, tt.dst)
			if p.Method != "" || p.Reason != tt.want || p.Detail == "" {
				t.Errorf("%+v", p)
			}
		})
	}
}

// TestUnable: what the device says of itself becomes the reason.
func TestUnable(t *testing.T) {
	tests := map[string]struct {
		limits nvme.Limits
		want   remap.Reason
	}{
		"MSSRL 0": {nvme.Limits{CommandBlocks: 8, Ranges: 1}, "limit:zero"},
		"MCL 0":   {nvme.Limits{RangeBlocks: 8, Ranges: 1}, "limit:zero"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			d := newDisk(0, 512, tt.limits)
			f := finder(t, d)
			p := f.Pair(t.Context(), d.node, d.node)
			if p.Method != "" || p.Reason != tt.want {
				t.Errorf("%+v", p)
			}
			if c, err := f.Copier(t.Context(), p, copydomain.CopyOptions{}); err == nil {
				t.Errorf("a copier for a pair without a method: %v", c)
			}
		})
	}
	t.Run("permission", func(t *testing.T) {
		f := copydomain.NewFinderWith(func(*remap.Node) (nvme.Transport, error) {
			return nil, &fs.PathError{Op: "open", Path: "/dev/ng0n1", Err: unix.EACCES}
		})
		d := newDisk(0, 512, roomy)
		if p := f.Pair(t.Context(), d.node, d.node); p.Reason != copydomain.ReasonPermission {
			t.Errorf("%+v", p)
		}
	})
}

// closing counts how often a device is opened and closed.
type closing struct {
	nvme.Transport
	closed *int
}

func (c closing) Close() error { *c.closed++; return errors.New("busy") }

// TestProbesOnce: every leaf is asked once, by however many, and let go once.
func TestProbesOnce(t *testing.T) {
	d := newDisk(0, 512, roomy)
	opened, closed := 0, 0
	f := copydomain.NewFinderWith(func(*remap.Node) (nvme.Transport, error) {
		opened++
		return closing{d.loop, &closed}, nil
	})
	var wait sync.WaitGroup
	for range 8 {
		wait.Go(func() {
			if p := f.Pair(context.Background(), d.node, d.node); p.Method == "" {
				t.Errorf("%+v", p)
			}
		})
	}
	wait.Wait()
	if err := f.Close(); err == nil || opened != 1 || closed != 1 {
		t.Errorf("opened %d times, closed %d times: %v", opened, closed, err)
	}
}

// TestProbesAgain: a leaf that looks another way is identified again, and one that could not be
// after a while; what led to it is let go at the end.
func TestProbesAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDisk(0, 512, roomy)
		opened, closed := 0, 0
		var refuse error
		f := copydomain.NewFinderWith(func(*remap.Node) (nvme.Transport, error) {
			opened++
			if refuse != nil {
				return nil, refuse
			}
			return closing{d.loop, &closed}, nil
		})
		asks := func(node *remap.Node, want int, works bool) {
			t.Helper()
			if p := f.Pair(t.Context(), node, node); (p.Method != "") != works || opened != want {
				t.Errorf("opened %d times, want %d: %+v", opened, want, p)
			}
		}
		asks(d.node, 1, true)
		other := d.with(func(n *remap.Node) { n.Print[0]++ })
		asks(other, 2, true)
		asks(other, 2, true)
		refuse = unix.EIO
		asks(d.node, 3, false)
		refuse = nil
		asks(d.node, 3, false)
		time.Sleep(11 * time.Minute)
		asks(d.node, 4, true)
		if closed != 0 {
			t.Errorf("%d are closed, which somebody may be using", closed)
		}
		if err := f.Close(); err == nil || closed != 3 {
			t.Errorf("closed %d of 3: %v", closed, err)
		}
	})
}

// TestProbeInterrupted: an answer that was not waited for is not an answer.
func TestProbeInterrupted(t *testing.T) {
	d := newDisk(0, 512, roomy)
	f := finder(t, d)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if p := f.Pair(ctx, d.node, d.node); p.Method != "" {
		t.Errorf("%+v", p)
	}
	if p := f.Pair(t.Context(), d.node, d.node); p.Method == "" {
		t.Errorf("an interruption is remembered as a fact: %+v", p)
	}
}

// TestProbeInterruptedAnywhere: what was opened for an answer that was not waited for leads nowhere.
func TestProbeInterruptedAnywhere(t *testing.T) {
	d := newDisk(0, 512, roomy)
	for n := 1; ; n++ {
		ctx, cancel := context.WithCancel(t.Context())
		var left atomic.Int64 // commands that nobody waits for come later
		left.Store(int64(n))
		f := copydomain.NewFinderWith(func(*remap.Node) (nvme.Transport, error) {
			return interrupting{d.loop, &left, cancel}, nil
		})
		p := f.Pair(ctx, d.node, d.node)
		if left.Load() > 0 {
			break // it was asked for less than that
		}
		if p.Method != "" {
			t.Errorf("interrupted after %d commands: %+v", n, p)
		}
		if _, err := f.Copier(ctx, copydomain.Pair{Src: d.node, Dst: d.node, Method: copydomain.NVMeCopy}, copydomain.CopyOptions{}); err == nil {
			t.Errorf("interrupted after %d commands: copies are prepared", n)
		}
		cancel()
	}
}

// interrupting ends a context with the last of some commands.
type interrupting struct {
	nvme.Transport
	left   *atomic.Int64
	cancel func()
}

func (i interrupting) Admin(ctx context.Context, c *nvme.Command) (nvme.Completion, error) {
	completion, err := i.Transport.Admin(ctx, c)
	if i.left.Add(-1) == 0 {
		i.cancel()
	}
	return completion, err
}

func copier(t testing.TB, d *disk, allowed func(dst, n remap.Sector) error) copydomain.Copier {
	t.Helper()
	f := finder(t, d)
	if allowed == nil {
		allowed = func(_, _ remap.Sector) error { return nil }
	}
	c, err := f.Copier(t.Context(), f.Pair(t.Context(), d.node, d.node), copydomain.CopyOptions{InFlight: 2, Allowed: allowed})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestCopy: sectors are sectors, whatever the blocks of the namespace.
func TestCopy(t *testing.T) {
	for _, block := range []uint32{512, 4096} {
		t.Run(fmt.Sprint(block), func(t *testing.T) {
			d := newDisk(0, block, roomy)
			want := bytes.Clone(d.memory)
			moves := []copydomain.Move{{Src: 8, Dst: 1000, Len: 88}, {Src: 504, Dst: 1512, Len: 8}, {Src: 96, Dst: 1088, Len: 16}}
			for _, m := range moves {
				copy(want[m.Dst.Bytes():][:m.Len.Bytes()], want[m.Src.Bytes():])
			}
			var asked remap.Sector
			c := copier(t, d, func(dst, n remap.Sector) error {
				if dst < 1000 || dst+n > 1520 {
					t.Errorf("asked about %d sectors at %d", n, dst)
				}
				asked += n
				return nil
			})
			r, err := c.Copy(t.Context(), moves)
			if err != nil || len(r.Redo)+len(r.Fenced) > 0 || asked != 112 {
				t.Errorf("%v, %+v, asked about %d sectors", err, r, asked)
			}
			if !bytes.Equal(d.memory, want) {
				t.Error("wrong bytes")
			}
			if log := d.loop.Log(); int64(len(log)) < r.Commands || r.Commands == 0 {
				t.Errorf("%d commands of %d", r.Commands, len(log))
			}
			if err := c.Flush(t.Context()); err != nil {
				t.Error(err)
			}
			last := d.loop.Log()[len(d.loop.Log())-1]
			if last.Command.Opcode != nvme.OpFlush || last.Command.NSID != 1 {
				t.Errorf("%+v", last)
			}
		})
	}
}

// TestCopyRefuses: batches that must not be issued are not, not even in part.
func TestCopyRefuses(t *testing.T) {
	bad := map[string][]copydomain.Move{
		"misaligned source":      {{Src: 1, Dst: 1000, Len: 8}},
		"misaligned destination": {{Src: 8, Dst: 1001, Len: 8}},
		"misaligned length":      {{Src: 8, Dst: 1000, Len: 9}},
		"beyond the end":         {{Src: 8, Dst: 2040, Len: 16}},
		"negative":               {{Src: 8, Dst: -8, Len: 8}},
		"empty":                  {{Src: 8, Dst: 1000}},
		"onto itself":            {{Src: 8, Dst: 16, Len: 16}},
		"twice":                  {{Src: 8, Dst: 1000, Len: 16}, {Src: 80, Dst: 1008, Len: 16}},
		"what another reads":     {{Src: 8, Dst: 1000, Len: 16}, {Src: 1000, Dst: 1200, Len: 16}},
	}
	for name, moves := range bad {
		t.Run(name, func(t *testing.T) {
			d := newDisk(0, 4096, roomy)
			before := bytes.Clone(d.memory)
			r, err := copier(t, d, nil).Copy(t.Context(), append([]copydomain.Move{{Src: 160, Dst: 1600, Len: 8}}, moves...))
			if err == nil {
				t.Errorf("%+v", r)
			}
			if !bytes.Equal(d.memory, before) {
				t.Error("something was written")
			}
		})
	}
}

// TestForbidden: a command that is not allowed is not issued, and neither is the rest.
func TestForbidden(t *testing.T) {
	d := newDisk(0, 512, roomy)
	before := bytes.Clone(d.memory)
	forbidden := errors.New("forbidden")
	r, err := copier(t, d, func(_, _ remap.Sector) error { return forbidden }).Copy(t.Context(), []copydomain.Move{{Src: 0, Dst: 1000, Len: 400}})
	if err != nil || r.Commands != 0 || len(r.Redo) == 0 || !errors.Is(r.Redo[0].Err, forbidden) {
		t.Errorf("%v, %+v", err, r)
	}
	if !bytes.Equal(d.memory, before) {
		t.Error("something was written")
	}
}

// TestActions: what each kind of failure means for what comes next. Every
// sector is accounted for, however the command ended.
func TestActions(t *testing.T) {
	tests := []struct {
		name  string
		fault nvme.Fault
		want  copydomain.Action
	}{
		{"media", nvme.Fault{Status: nvme.StatusUnrecoveredRead}, copydomain.ActionEmulate},
		{"busy", nvme.Fault{Status: nvme.StatusInsufficientResources}, copydomain.ActionEmulate},
		{"path", nvme.Fault{Status: 0x303}, copydomain.ActionEmulate},
		{"vendor", nvme.Fault{Status: 0x7C0}, copydomain.ActionEmulate},
		{"opcode", nvme.Fault{Status: nvme.StatusInvalidOpcode}, copydomain.ActionNotSupported},
		{"limits, always", nvme.Fault{Status: nvme.StatusCommandSizeLimit}, copydomain.ActionNotSupported},
		{"out of range", nvme.Fault{Status: nvme.StatusLBAOutOfRange}, copydomain.ActionReresolve},
		{"reservation", nvme.Fault{Status: nvme.StatusReservationConflict}, copydomain.ActionSurface},
		{"write protected", nvme.Fault{Status: 0x020}, copydomain.ActionSurface},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := newDisk(0, 512, roomy)
			d.loop.SetFault(func(int, *nvme.Command) nvme.Fault { return tt.fault })
			r, err := copier(t, d, nil).Copy(t.Context(), []copydomain.Move{{Src: 0, Dst: 1000, Len: 100}})
			if err != nil || len(r.Fenced) > 0 {
				t.Fatalf("%v, %+v", err, r)
			}
			var sectors remap.Sector
			for _, redo := range r.Redo {
				sectors += redo.Len
				if redo.Action != tt.want || redo.Reason == "" || !errors.Is(redo.Err, tt.fault.Status) || redo.Dst-redo.Src != 1000 {
					t.Errorf("%+v", redo)
				}
			}
			if sectors != 100 {
				t.Errorf("%d of 100 sectors are accounted for", sectors)
			}
		})
	}
	t.Run("lost", func(t *testing.T) {
		d := newDisk(0, 512, roomy)
		d.loop.SetFault(func(n int, _ *nvme.Command) nvme.Fault {
			if n == 0 {
				return nvme.Fault{Lost: unix.EINTR}
			}
			return nvme.Fault{}
		})
		c := copier(t, d, nil)
		r, err := c.Copy(t.Context(), []copydomain.Move{{Src: 0, Dst: 1000, Len: 64}})
		if err != nil || len(r.Fenced) != 1 || r.Fenced[0].Dst != 1000 || r.Fenced[0].Len != 64 || r.Fenced[0].Action != copydomain.ActionSurface || len(r.Redo) > 0 {
			t.Errorf("%v, %+v", err, r)
		}
		if _, err := c.Copy(t.Context(), []copydomain.Move{{Src: 0, Dst: 1032, Len: 64}}); !errors.Is(err, blocks.ErrFenced) {
			t.Errorf("over the fence: %v", err)
		}
	})
	t.Run("canceled", func(t *testing.T) {
		d := newDisk(0, 512, roomy)
		c := copier(t, d, nil)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		r, err := c.Copy(ctx, []copydomain.Move{{Src: 0, Dst: 1000, Len: 64}})
		if err != nil || r.Commands != 0 || len(r.Redo) != 1 || r.Redo[0].Action != copydomain.ActionCanceled {
			t.Errorf("%v, %+v", err, r)
		}
	})
}

// TestFlushFails: a status is an error.
func TestFlushFails(t *testing.T) {
	d := newDisk(0, 512, roomy)
	c := copier(t, d, nil)
	d.loop.SetFault(func(int, *nvme.Command) nvme.Fault { return nvme.Fault{Status: nvme.StatusWriteFault} })
	if err := c.Flush(t.Context()); !errors.Is(err, nvme.StatusWriteFault) {
		t.Error(err)
	}
	d.loop.SetFault(func(int, *nvme.Command) nvme.Fault { return nvme.Fault{Lost: unix.EIO} })
	if err := c.Flush(t.Context()); !errors.Is(err, unix.EIO) {
		t.Error(err)
	}
}

// TestFenceIsShared: whoever asks for the copier of a namespace in this process
// minds the fences of the others.
func TestFenceIsShared(t *testing.T) {
	d := newDisk(0, 512, roomy)
	d.loop.SetFault(func(n int, _ *nvme.Command) nvme.Fault {
		if n == 0 {
			return nvme.Fault{Lost: unix.EINTR}
		}
		return nvme.Fault{}
	})
	f := finder(t, d)
	move := []copydomain.Move{{Src: 0, Dst: 1000, Len: 64}}
	for i, want := range []error{nil, blocks.ErrFenced} {
		c, err := f.Copier(t.Context(), f.Pair(t.Context(), d.node, d.node), copydomain.CopyOptions{Allowed: func(_, _ remap.Sector) error { return nil }})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Copy(t.Context(), move); !errors.Is(err, want) {
			t.Errorf("copier %d: %v", i, err)
		}
	}
	// So does whoever meets it when it looks another way.
	again := d.with(func(n *remap.Node) { n.Print[0]++ })
	c, err := f.Copier(t.Context(), f.Pair(t.Context(), again, again), copydomain.CopyOptions{Allowed: func(_, _ remap.Sector) error { return nil }})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Copy(t.Context(), move); !errors.Is(err, blocks.ErrFenced) {
		t.Errorf("identified again: %v", err)
	}
}
