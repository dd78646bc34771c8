package copydomain_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/copydomain"
	"github.com/dmcopy/dmcopy/copydomain/blocks"
	"github.com/dmcopy/dmcopy/copydomain/nvme"
	"github.com/dmcopy/dmcopy/remap"
)

// subsystem is an NVM subsystem in memory: two namespaces, the controllers by their
// names, and which of them lead to which namespace.
type subsystem struct {
	memory      [2][]byte
	node        [2]*remap.Node
	controllers map[string]*nvme.Loopback
	leads       [2][]string
	unopened    error
}

func told(l *nvme.Loopback) bool {
	b := l.Behavior()
	return b.CopyFormats().Has(nvme.Format2)
}

// newSubsystem has namespaces with unlike limits, and two controllers that lead to
// both, and copies between namespaces are not enabled.
func newSubsystem(edit func(name string, c *nvme.Controller, a, b *nvme.LoopbackNamespace)) *subsystem {
	s := &subsystem{controllers: make(map[string]*nvme.Loopback)}
	for i := range 2 {
		s.memory[i] = make([]byte, 1<<20)
		for at := range s.memory[i] {
			s.memory[i][at] = byte(at>>9) ^ byte(at) ^ byte(i*0x5A)
		}
		s.leads[i] = []string{"nvme0", "nvme1"}
		s.node[i] = &remap.Node{
			Dev: remap.Dev{Major: 259, Minor: uint32(i)}, Name: fmt.Sprintf("nvme0n%d", i+1), Size: 1 << 20 / sector, BlockSize: 512,
			Leaf: &remap.Leaf{Driver: "nvme", Zoned: "none", NVMe: &remap.NVMeLeaf{NSID: uint32(i + 1), Subsystem: "nqn", Serial: "SUB1"}},
		}
	}
	for i, name := range []string{"nvme0", "nvme1"} {
		c := nvme.Controller{Serial: "SUB1", Model: "subsystem", SubNQN: "nqn", CNTLID: uint16(i), Copy: true, CopyFormats: 0xF}
		var ns [2]nvme.LoopbackNamespace
		for k, limits := range []nvme.Limits{{RangeBlocks: 16, CommandBlocks: 256, Ranges: 16}, {RangeBlocks: 64, CommandBlocks: 128, Ranges: 8}} {
			ns[k] = nvme.LoopbackNamespace{
				NSID:      uint32(k + 1),
				Namespace: nvme.Namespace{Blocks: 1 << 20 / 512, BlockSize: 512, Limits: limits, NGUID: [16]byte{15: byte(k + 1)}},
				Backing:   blocks.Memory(s.memory[k]),
			}
		}
		if edit != nil {
			edit(name, &c, &ns[0], &ns[1])
		}
		s.controllers[name] = nvme.NewLoopback(c, ns[:]...)
	}
	return s
}

// finder sends what goes to a head to its first path.
func (s *subsystem) finder(t testing.TB, mode copydomain.CrossNamespace) *copydomain.Finder {
	f := copydomain.NewFinderFor(copydomain.Openers{
		NVMe:        func(leaf *remap.Node) (nvme.Transport, error) { return s.controllers["nvme0"], nil },
		Controllers: func(leaf *remap.Node) ([]string, error) { return s.leads[leaf.Dev.Minor], nil },
		Controller: func(name string) (nvme.Transport, error) {
			if s.unopened != nil {
				return nil, s.unopened
			}
			return s.controllers[name], nil
		},
	})
	f.CrossNamespaces(mode, nil)
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	return f
}

func (s *subsystem) pair(t testing.TB, f *copydomain.Finder) copydomain.Pair {
	return f.Pair(t.Context(), s.node[0], s.node[1])
}

func TestCrossPair(t *testing.T) {
	on := nvme.HostBehavior{}.WithCopyFormat(nvme.Format2, true)
	for name, tc := range map[string]struct {
		mode   copydomain.CrossNamespace
		found  [2]bool // enabled already
		method copydomain.Method
		during [2]bool
	}{
		"told":               {copydomain.CrossAsFound, [2]bool{true, true}, copydomain.NVMeCopyXNS, [2]bool{true, true}},
		"not told":           {copydomain.CrossAsFound, [2]bool{}, "", [2]bool{}},
		"one of them told":   {copydomain.CrossAsFound, [2]bool{true, false}, "", [2]bool{true, false}},
		"forecast":           {copydomain.CrossForecast, [2]bool{}, copydomain.NVMeCopyXNS, [2]bool{}},
		"enable":             {copydomain.CrossEnable, [2]bool{}, copydomain.NVMeCopyXNS, [2]bool{true, true}},
		"enable the other":   {copydomain.CrossEnable, [2]bool{true, false}, copydomain.NVMeCopyXNS, [2]bool{true, true}},
		"nothing to enable":  {copydomain.CrossEnable, [2]bool{true, true}, copydomain.NVMeCopyXNS, [2]bool{true, true}},
		"forecast of a fact": {copydomain.CrossForecast, [2]bool{true, true}, copydomain.NVMeCopyXNS, [2]bool{true, true}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSubsystem(nil)
			names := []string{"nvme0", "nvme1"}
			for i, name := range names {
				if tc.found[i] {
					s.controllers[name].SetBehavior(on)
				}
			}
			f := s.finder(t, tc.mode)
			p := s.pair(t, f)
			if p.Method != tc.method {
				t.Errorf("%+v", p)
			}
			if p.Method != "" && (p.Reason != "" || p.Block != 512 || p.Domain != "nvme:SUB1" || p.CommandBytes != 128*512 || p.Limits != "mssrl 16, mcl 128, 8 ranges") {
				t.Errorf("%+v", p)
			}
			if p.Method == "" && (p.Reason != copydomain.ReasonCrossDisabled || p.Detail == "") {
				t.Errorf("%+v", p)
			}
			wanted := 0
			if tc.mode == copydomain.CrossForecast && !tc.found[0] {
				wanted = 2
			}
			if notes := f.Forecast(); len(notes) != wanted || (p.Method != "" && (p.Detail != "") != (wanted > 0)) {
				t.Errorf("forecast %q, detail %q", notes, p.Detail)
			}
			for i, name := range names {
				if told(s.controllers[name]) != tc.during[i] {
					t.Errorf("%s is told %v while the finder lives", name, !tc.during[i])
				}
			}
			if err := f.Close(); err != nil {
				t.Error(err)
			}
			for i, name := range names {
				if told(s.controllers[name]) != tc.found[i] {
					t.Errorf("%s is told %v afterwards", name, !tc.found[i])
				}
			}
		})
	}
}

// TestNoCrossPair: pairs that no command spans, and why. Nobody is told anything
// for them.
func TestNoCrossPair(t *testing.T) {
	for name, tc := range map[string]struct {
		controller func(name string, c *nvme.Controller, a, b *nvme.LoopbackNamespace)
		edit       func(s *subsystem)
		want       remap.Reason
	}{
		"a path that does not lead to the source": {nil, func(s *subsystem) { s.leads[0] = []string{"nvme0"} }, copydomain.ReasonNotReachable},
		"no path in common":                       {nil, func(s *subsystem) { s.leads[0], s.leads[1] = []string{"nvme0"}, []string{"nvme1"} }, copydomain.ReasonNotReachable},
		"no path":                                 {nil, func(s *subsystem) { s.leads[1] = nil }, copydomain.ReasonNotReachable},
		"not attached": {func(name string, _ *nvme.Controller, a, _ *nvme.LoopbackNamespace) {
			if name == "nvme1" {
				a.NSID = 77
			}
		}, nil, copydomain.ReasonNotReachable},
		"a private namespace of the same number": {func(name string, _ *nvme.Controller, a, _ *nvme.LoopbackNamespace) {
			if name == "nvme1" {
				a.NGUID[0] = 1
			}
		}, nil, copydomain.ReasonNotReachable},
		"older firmware on one path": {func(name string, c *nvme.Controller, _, _ *nvme.LoopbackNamespace) {
			if name == "nvme1" {
				c.CopyFormats = 3
			}
		}, nil, "domain:format-2-unsupported"},
		"older firmware":         {func(_ string, c *nvme.Controller, _, _ *nvme.LoopbackNamespace) { c.CopyFormats = 1 }, nil, "domain:format-2-unsupported"},
		"protection information": {func(_ string, _ *nvme.Controller, a, _ *nvme.LoopbackNamespace) { a.MetadataSize, a.Protection = 8, 1 }, nil, "domain:protection"},
		"source without Copy":    {func(_ string, _ *nvme.Controller, a, _ *nvme.LoopbackNamespace) { a.Limits.Ranges = 0 }, nil, "limit:zero"},
		"one name for both":      {func(_ string, _ *nvme.Controller, a, b *nvme.LoopbackNamespace) { b.NGUID = a.NGUID }, nil, copydomain.ReasonOtherNamespace},
		"blocks of other sizes": {func(_ string, _ *nvme.Controller, a, _ *nvme.LoopbackNamespace) { a.BlockSize, a.Blocks = 4096, 256 },
			func(s *subsystem) { s.node[0].BlockSize = 4096 }, "domain:block-size"},
		"the source is another one": {nil, func(s *subsystem) { s.node[0].Size-- }, copydomain.ReasonIdentity},
		"zoned":                     {nil, func(s *subsystem) { s.node[0].Leaf.Zoned = "host-managed" }, copydomain.ReasonZoned},
		"another subsystem":         {nil, func(s *subsystem) { s.node[0].Leaf.NVMe.Subsystem = "other" }, copydomain.ReasonOtherSubsystem},
		"a controller that is not for us": {nil, func(s *subsystem) { s.unopened = &fs.PathError{Op: "open", Path: "/dev/nvme0", Err: unix.EACCES} },
			copydomain.ReasonPermission},
		"a controller that is gone": {nil, func(s *subsystem) { s.unopened = fs.ErrNotExist }, copydomain.ReasonProbeFailed},
		"a controller that does not answer": {nil, func(s *subsystem) {
			s.controllers["nvme1"].SetAdminFault(func(*nvme.Command) (nvme.Status, error) { return 0, unix.EIO })
		}, copydomain.ReasonProbeFailed},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSubsystem(tc.controller)
			if tc.edit != nil {
				tc.edit(s)
			}
			p := s.pair(t, s.finder(t, copydomain.CrossEnable))
			if p.Method != "" || p.Reason != tc.want || p.Detail == "" {
				t.Errorf("%+v", p)
			}
			for name, l := range s.controllers {
				if told(l) {
					t.Errorf("%s was told", name)
				}
			}
		})
	}
}

// TestCrossRefused: what keeps controllers from being told, and who was told before
// that is disabled again.
func TestCrossRefused(t *testing.T) {
	only := func(op nvme.Opcode, status nvme.Status, err error) func(c *nvme.Command) (nvme.Status, error) {
		return func(c *nvme.Command) (nvme.Status, error) {
			if c.Opcode == op {
				return status, err
			}
			return 0, nil
		}
	}
	eaccess := fmt.Errorf("%w: %w", blocks.ErrNotIssued, unix.EACCES)
	for name, fault := range map[string]func(c *nvme.Command) (nvme.Status, error){
		"the kernel's filter":      only(nvme.OpSetFeatures, 0, eaccess),
		"not even to be asked":     only(nvme.OpGetFeatures, 0, eaccess),
		"no such feature":          only(nvme.OpGetFeatures, nvme.StatusInvalidField, nil),
		"refused":                  only(nvme.OpSetFeatures, nvme.StatusInvalidField, nil),
		"lost, and done or undone": only(nvme.OpSetFeatures, 0, unix.EIO),
	} {
		t.Run(name, func(t *testing.T) {
			s := newSubsystem(nil)
			s.controllers["nvme1"].SetAdminFault(fault)
			f := s.finder(t, copydomain.CrossEnable)
			if p := s.pair(t, f); p.Method != "" || p.Reason != copydomain.ReasonCrossDisabled || p.Detail == "" {
				t.Errorf("%+v", p)
			}
			if err := f.Close(); err != nil {
				t.Error(err)
			}
			if told(s.controllers["nvme0"]) || told(s.controllers["nvme1"]) {
				t.Error("left told")
			}
		})
	}
}

// TestCrossNotRestored: a controller that stays as it should not is an error.
func TestCrossNotRestored(t *testing.T) {
	s := newSubsystem(nil)
	f := copydomain.NewFinderFor(copydomain.Openers{
		NVMe:        func(*remap.Node) (nvme.Transport, error) { return s.controllers["nvme0"], nil },
		Controllers: func(*remap.Node) ([]string, error) { return []string{"nvme0", "nvme1"}, nil },
		Controller:  func(name string) (nvme.Transport, error) { return s.controllers[name], nil },
	})
	f.CrossNamespaces(copydomain.CrossEnable, nil)
	if p := s.pair(t, f); p.Method == "" {
		t.Fatalf("%+v", p)
	}
	s.controllers["nvme0"].SetAdminFault(func(*nvme.Command) (nvme.Status, error) { return 0, unix.EIO })
	if err := f.Close(); !errors.Is(err, unix.EIO) {
		t.Error(err)
	}
	if told(s.controllers["nvme1"]) {
		t.Error("the other one was forgotten")
	}
}

func (s *subsystem) copier(t testing.TB, f *copydomain.Finder, src, dst int) copydomain.Copier {
	t.Helper()
	c, err := f.Copier(t.Context(), f.Pair(t.Context(), s.node[src], s.node[dst]), copydomain.CopyOptions{Allowed: func(_, _ remap.Sector) error { return nil }})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestCrossCopier copies both ways, and finds out before and after commands that a
// controller forgot what it was told.
func TestCrossCopier(t *testing.T) {
	s := newSubsystem(nil)
	f := s.finder(t, copydomain.CrossEnable)
	there, back := s.copier(t, f, 0, 1), s.copier(t, f, 1, 0)
	moves := []copydomain.Move{{Src: 8, Dst: 1000, Len: 300}, {Src: 500, Dst: 1300, Len: 1}}
	want := bytes.Clone(s.memory[1])
	for _, m := range moves {
		copy(want[m.Dst.Bytes():][:m.Len.Bytes()], s.memory[0][m.Src.Bytes():])
	}
	if r, err := there.Copy(t.Context(), moves); err != nil || len(r.Redo)+len(r.Fenced) > 0 || !bytes.Equal(s.memory[1], want) {
		t.Errorf("%v, %+v", err, r)
	}
	if r, err := back.Copy(t.Context(), []copydomain.Move{{Src: 1000, Dst: 1000, Len: 300}}); err != nil || len(r.Redo) > 0 ||
		!bytes.Equal(s.memory[0][1000*sector:1300*sector], s.memory[0][8*sector:308*sector]) {
		t.Errorf("back: %v, %+v", err, r)
	}
	if err := there.Flush(t.Context()); err != nil {
		t.Error(err)
	}
	log := s.controllers["nvme0"].Log()
	if last := log[len(log)-1].Command; last.Opcode != nvme.OpFlush || last.NSID != 2 {
		t.Errorf("flush: %+v", last)
	}

	forget := func() { s.controllers["nvme1"].SetBehavior(nvme.HostBehavior{}) }
	at := len(s.controllers["nvme0"].Log())
	forget()
	r, err := there.Copy(t.Context(), moves)
	if err != nil || r.Commands != 0 || len(r.Redo) != 2 || r.Redo[0].Reason != copydomain.ReasonCrossDisabled || r.Redo[0].Action != copydomain.ActionNotSupported {
		t.Errorf("%v, %+v", err, r)
	}
	if slices.ContainsFunc(s.controllers["nvme0"].Log()[at:], func(e nvme.LoopbackEntry) bool { return !e.Admin }) {
		t.Error("a command was issued")
	}

	s.controllers["nvme1"].SetBehavior(s.controllers["nvme0"].Behavior())
	s.controllers["nvme0"].SetFault(func(int, *nvme.Command) nvme.Fault {
		forget()
		return nvme.Fault{Status: nvme.StatusInvalidField}
	})
	r, err = there.Copy(t.Context(), moves)
	if err != nil || r.Commands == 0 || len(r.Redo) == 0 {
		t.Fatalf("%v, %+v", err, r)
	}
	for _, redo := range r.Redo {
		if redo.Reason != copydomain.ReasonCrossDisabled || redo.Action != copydomain.ActionNotSupported || !errors.Is(redo.Err, nvme.StatusInvalidField) {
			t.Errorf("%+v", redo)
		}
	}
}

// TestCrossFence: a command that is lost fences its destination for whoever writes
// to that namespace, or reads from it.
func TestCrossFence(t *testing.T) {
	s := newSubsystem(nil)
	s.controllers["nvme0"].SetFault(func(n int, _ *nvme.Command) nvme.Fault {
		if n == 0 {
			return nvme.Fault{Lost: unix.EINTR}
		}
		return nvme.Fault{}
	})
	f := s.finder(t, copydomain.CrossEnable)
	lost := copydomain.Move{Src: 0, Dst: 1000, Len: 16}
	r, err := s.copier(t, f, 0, 1).Copy(t.Context(), []copydomain.Move{lost})
	if err != nil || len(r.Fenced) != 1 || r.Fenced[0].Move != lost {
		t.Fatalf("%v, %+v", err, r)
	}
	for name, tc := range map[string]struct {
		src, dst int
		move     copydomain.Move
		fenced   bool
	}{
		"again":               {0, 1, lost, true},
		"from its namespace":  {1, 1, copydomain.Move{Src: 0, Dst: 1008, Len: 4}, true},
		"reads what is torn":  {1, 0, copydomain.Move{Src: 1008, Dst: 0, Len: 4}, true},
		"the other namespace": {0, 0, copydomain.Move{Src: 0, Dst: 1000, Len: 16}, false},
		"beside":              {0, 1, copydomain.Move{Src: 0, Dst: 1016, Len: 4}, false},
	} {
		if _, err := s.copier(t, f, tc.src, tc.dst).Copy(t.Context(), []copydomain.Move{tc.move}); errors.Is(err, blocks.ErrFenced) != tc.fenced || err != nil && !tc.fenced {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestOffline: a finder for snapshots asks nobody.
func TestOffline(t *testing.T) {
	s := newSubsystem(nil)
	f := copydomain.NewOfflineFinder()
	f.CrossNamespaces(copydomain.CrossForecast, nil)
	if p := s.pair(t, f); p.Method != "" || p.Reason != copydomain.ReasonOtherNamespace {
		t.Errorf("%+v", p)
	}
	if p := f.Pair(t.Context(), s.node[0], s.node[0]); p.Method != "" || p.Reason != copydomain.ReasonProbeFailed {
		t.Errorf("%+v", p)
	}
}

// deadEnd is a controller that is gone, although it is open.
type deadEnd struct {
	*nvme.Loopback
	gone   *bool
	closed *int
}

func (d deadEnd) Admin(ctx context.Context, c *nvme.Command) (nvme.Completion, error) {
	if *d.gone {
		return nvme.Completion{}, unix.ENODEV
	}
	return d.Loopback.Admin(ctx, c)
}

func (d deadEnd) Close() error { *d.closed++; return nil }

// TestCrossPairAfterRemoval: a controller that has gone, and come back under its name, is opened again, and is
// set back in the end if the one before was enabled.
func TestCrossPairAfterRemoval(t *testing.T) {
	s := newSubsystem(nil)
	first, closed, opened := new(bool), 0, 0
	f := copydomain.NewFinderFor(copydomain.Openers{
		NVMe:        func(*remap.Node) (nvme.Transport, error) { return s.controllers["nvme0"], nil },
		Controllers: func(*remap.Node) ([]string, error) { return []string{"nvme0"}, nil },
		Controller: func(name string) (nvme.Transport, error) {
			if s.unopened != nil {
				return nil, s.unopened
			}
			if opened++; opened == 1 {
				return deadEnd{s.controllers[name], first, &closed}, nil
			}
			return deadEnd{s.controllers[name], new(bool), &closed}, nil
		},
	})
	f.CrossNamespaces(copydomain.CrossEnable, nil)
	if p := s.pair(t, f); p.Method != copydomain.NVMeCopyXNS || !told(s.controllers["nvme0"]) {
		t.Fatalf("%+v", p)
	}
	*first, s.unopened = true, fs.ErrNotExist
	if p := s.pair(t, f); p.Method != "" || p.Reason != copydomain.ReasonProbeFailed || closed != 0 {
		t.Errorf("gone: %+v, closed %d", p, closed)
	}
	s.unopened = nil
	if p := s.pair(t, f); p.Method != copydomain.NVMeCopyXNS || opened != 2 || closed != 1 {
		t.Errorf("back: %+v, opened %d, closed %d", p, opened, closed)
	}
	if err := f.Close(); err != nil || closed != 2 || told(s.controllers["nvme0"]) {
		t.Errorf("%v, closed %d, still told %v", err, closed, told(s.controllers["nvme0"]))
	}
}
