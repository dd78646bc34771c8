package nvme

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/copydomain/blocks"
)

// device is a controller in memory, varied by change.
func device(change func(c *Controller, n *LoopbackNamespace)) *Loopback {
	l := NewMemoryLoopback(make([]byte, 1<<20), 512, Limits{128, 256, 16})
	n := l.namespaces[1].LoopbackNamespace
	c := l.controller
	if change != nil {
		change(&c, &n)
	}
	return NewLoopback(c, n)
}

func TestProbeSupport(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(c *Controller, n *LoopbackNamespace)
		able   blocks.Tristate
		reason string
	}{
		"able":           {nil, blocks.Yes, ""},
		"no effects log": {func(c *Controller, n *LoopbackNamespace) { c.EffectsLog = false }, blocks.Yes, ""},
		"no copy":        {func(c *Controller, n *LoopbackNamespace) { c.Copy = false }, blocks.No, "domain:no-copy-command"},
		"formats 1 to 3": {func(c *Controller, n *LoopbackNamespace) { c.CopyFormats = 0xE }, blocks.No, "domain:format-0-unsupported"},
		"metadata":       {func(c *Controller, n *LoopbackNamespace) { n.MetadataSize = 8 }, blocks.No, "domain:metadata"},
		"protection":     {func(c *Controller, n *LoopbackNamespace) { n.Protection = 1 }, blocks.No, "domain:protection"},
		"MSSRL zero":     {func(c *Controller, n *LoopbackNamespace) { n.Limits.RangeBlocks = 0 }, blocks.No, "limit:zero"},
		"MCL zero":       {func(c *Controller, n *LoopbackNamespace) { n.Limits.CommandBlocks = 0 }, blocks.No, "limit:zero"},
		"read only":      {func(c *Controller, n *LoopbackNamespace) { n.WriteProtect = true }, blocks.No, "domain:write-protected"},
		"zoned":          {func(c *Controller, n *LoopbackNamespace) { n.Zones = &LoopbackZones{Size: 64, Capacity: 64} }, blocks.Yes, ""},
		"key-value":      {func(c *Controller, n *LoopbackNamespace) { n.CommandSet = CommandSetKV }, blocks.No, "domain:command-set"},
	} {
		d, err := Probe(t.Context(), device(tc.change), 1)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if d.Support.Able != tc.able || d.Support.Reason != tc.reason {
			t.Errorf("%s: %+v", name, d.Support)
		}
		if (d.Support.Able == blocks.No) != (d.Support.Detail != "") {
			t.Errorf("%s: detail %q", name, d.Support.Detail)
		}
		if _, err := NewCopier(d, blocks.Options{}); (err == nil) != (tc.able == blocks.Yes) || err != nil && !errors.Is(err, blocks.ErrNotSupported) {
			t.Errorf("%s: NewCopier: %v", name, err)
		}
	}
}

// adminFault answers some admin commands in place of the controller.
type adminFault struct {
	*Loopback
	answer func(c *Command) (Completion, error, bool)
}

func (a adminFault) Admin(ctx context.Context, c *Command) (Completion, error) {
	if completion, err, mine := a.answer(c); mine {
		return completion, err
	}
	return a.Loopback.Admin(ctx, c)
}

func TestProbeWhenTheControllerFails(t *testing.T) {
	effects := func(c *Command) bool { return c.Opcode == OpGetLogPage }
	cns := func(v uint32) func(c *Command) bool {
		return func(c *Command) bool { return c.Opcode == OpIdentify && c.CDW10 == v }
	}
	for name, tc := range map[string]struct {
		match   func(c *Command) bool
		status  Status
		err     error
		able    blocks.Tristate
		wantErr error
	}{
		"effects log without privilege": {effects, 0, unix.EACCES, blocks.Yes, nil},
		"effects log fails":             {effects, StatusInvalidLogPage, nil, blocks.Yes, nil},
		"effects log denies":            {effects, 0, nil, blocks.No, nil}, // all zero
		"controller fails":              {cns(1), StatusInvalidField, nil, 0, StatusInvalidField},
		"namespace fails":               {cns(0), 0, unix.EIO, 0, unix.EIO},
		"namespace is not there":        {cns(0), 0, nil, 0, ErrInactive}, // all zero
		"descriptors fail":              {cns(3), StatusInvalidField, nil, blocks.Unknown, nil},
		"descriptors do not come":       {cns(3), 0, unix.EIO, 0, unix.EIO},
	} {
		transport := adminFault{device(nil), func(c *Command) (Completion, error, bool) {
			return Completion{Status: tc.status}, tc.err, tc.match(c)
		}}
		d, err := Probe(t.Context(), transport, 1)
		if !errors.Is(err, tc.wantErr) || (err == nil) != (tc.wantErr == nil) {
			t.Errorf("%s: %v", name, err)
		}
		if err == nil && d.Support.Able != tc.able {
			t.Errorf("%s: %+v", name, d.Support)
		}
		if e := (*blocks.Error)(nil); err != nil && !errors.As(err, &e) {
			t.Errorf("%s: %T is not *blocks.Error", name, err)
		}
	}
}

func TestProbeUnknownNamespace(t *testing.T) {
	if _, err := Probe(t.Context(), device(nil), 7); !errors.Is(err, StatusInvalidNamespace) {
		t.Error(err)
	}
}

// A controller that does not answer does not hang Probe.
func TestProbeHasADeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stuck := make(chan struct{})
		transport := adminFault{device(nil), func(c *Command) (Completion, error, bool) {
			<-stuck
			return Completion{}, unix.EINTR, true
		}}
		if _, err := Probe(t.Context(), transport, 1); !errors.Is(err, blocks.ErrTimeout) {
			t.Error(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := Probe(ctx, transport, 1); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		close(stuck)
	})
}
