package scsi

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dmcopy/dmcopy/copydomain/blocks"
)

func probe(t testing.TB, l *Loopback, unit int) *Device {
	t.Helper()
	d, err := Probe(t.Context(), l.Unit(unit))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func newLoop(b Behaviour, units int) *Loopback {
	var mems [][]byte
	for i := range units {
		mems = append(mems, stamped(byte(i), 64))
	}
	return NewMemoryLoopback(b, testBlock, mems...)
}

func TestProbe(t *testing.T) {
	for name, tc := range map[string]struct {
		b      Behaviour
		form   Form
		limits Limits
	}{
		"LIO":         {LIO(), LID1, Limits{65535, 65535, 1, 1}},
		"tcmu-runner": {TCMURunner(), LID1, Limits{32768, 32768, 1, 1}},
		"SCST":        {SCST(), LID1, Limits{65408, 6540800, 100, 128}},
		"CTL":         {CTL(), LID1, Limits{65535, 64 * 65535, 64, 1}},
	} {
		l := newLoop(tc.b, 2)
		d := probe(t, l, 1)
		if d.Support.Able != blocks.Yes || d.Form != tc.form || d.Limits != tc.limits {
			t.Errorf("%s: %+v, form %d, %v", name, d.Support, d.Form, d.Limits)
		}
		if d.Capacity != (Capacity{64, testBlock, false}) || d.Name.String() != "naa.6001405015eed0000000400080000000" || d.Serial != l.units[1].Serial || d.Inquiry.Vendor != "DMCOPY" {
			t.Errorf("%s: %v, %+v", name, d, d.Identity)
		}
		if err := d.Same(t.Context()); err != nil {
			t.Error(err)
		}
		for _, e := range l.Log() {
			if c := e.Command; c.writes() {
				t.Errorf("%s: % x", name, c.CDB)
			}
		}
	}
}

// What the device says of itself becomes the reason.
func TestProbeSaysWhyNot(t *testing.T) {
	edit := func(f func(*Behaviour)) Behaviour { b := LIO(); f(&b); return b }
	only := CTL()
	only.Short, only.Long = false, false
	for name, tc := range map[string]struct {
		b    Behaviour
		unit func(*LoopbackUnit)
		want string
	}{
		"no 3PC":             {edit(func(b *Behaviour) { b.ThirdPartyOff = true }), nil, "domain:no-copy-command"},
		"only tokens":        {only, nil, "domain:no-copy-command"},
		"zoned":              {LIO(), func(u *LoopbackUnit) { u.DeviceType = 0x14 }, "domain:not-a-disk"},
		"nobody there":       {LIO(), func(u *LoopbackUnit) { u.DeviceType = 0x7F }, "domain:not-a-disk"},
		"protected":          {LIO(), func(u *LoopbackUnit) { u.Capacity.Protected = true }, "domain:metadata"},
		"nameless":           {LIO(), func(u *LoopbackUnit) { u.Designators = u.Designators[2:] }, "domain:no-designator"},
		"no segments":        {edit(func(b *Behaviour) { b.Parameters.Segments = 0 }), nil, "limit:zero"},
		"no units":           {edit(func(b *Behaviour) { b.Parameters.Descriptors = 0 }), nil, "limit:zero"},
		"no list":            {edit(func(b *Behaviour) { b.Parameters.ListBytes = 0 }), nil, "limit:zero"},
		"less than a block":  {edit(func(b *Behaviour) { b.Parameters.SegmentBytes = 511 }), nil, "limit:zero"},
		"huge granules":      {edit(func(b *Behaviour) { b.Parameters.Granularity = 1 << 30 }), nil, "limit:zero"},
		"no segment type":    {edit(func(b *Behaviour) { b.Parameters.Types = []uint8{0xE4} }), nil, "domain:descriptors"},
		"no descriptor type": {edit(func(b *Behaviour) { b.Parameters.Types = []uint8{0x02, 0x0A} }), nil, "domain:descriptors"},
	} {
		l := newLoop(tc.b, 1)
		if tc.unit != nil {
			l.Change(0, tc.unit)
		}
		d := probe(t, l, 0)
		if d.Support.Able != blocks.No || d.Support.Reason != tc.want || d.Support.Detail == "" {
			t.Errorf("%s: %+v", name, d.Support)
		}
		if _, err := NewCopier(d, d, blocks.Options{}); !errors.Is(err, blocks.ErrNotSupported) {
			t.Errorf("%s: %v", name, err)
		}
		if tc.want == "domain:not-a-disk" && len(l.Log()) != 2 {
			t.Errorf("%s: asked on: %d commands", name, len(l.Log()))
		}
	}
}

// scripted answers commands by a function.
type scripted func(c *Command) (Completion, error)

func (s scripted) Do(_ context.Context, c *Command) (Completion, error) { return s(c) }
func (s scripted) Close() error                                         { return nil }

// A target without operating parameters does not tell its limits.
func TestProbeWithoutParameters(t *testing.T) {
	l := newLoop(LIO(), 1)
	d, err := Probe(t.Context(), scripted(func(c *Command) (Completion, error) {
		if c.Opcode() == OpThirdPartyIn {
			return SenseCompletion(SenseCode{IllegalRequest, 0x20, 0}), nil
		}
		return l.Unit(0).Do(t.Context(), c)
	}))
	if err != nil || d.Support.Reason != "domain:no-operating-parameters" {
		t.Errorf("%+v, %v", d, err)
	}
}

// An old disk knows the short READ CAPACITY only.
func TestProbeShortCapacity(t *testing.T) {
	l := newLoop(LIO(), 1)
	d, err := Probe(t.Context(), scripted(func(c *Command) (Completion, error) {
		if c.Opcode() == OpServiceActionIn16 {
			return SenseCompletion(SenseCode{IllegalRequest, 0x24, 0}), nil
		}
		return l.Unit(0).Do(t.Context(), c)
	}))
	if err != nil || d.Capacity != (Capacity{64, testBlock, false}) {
		t.Errorf("%+v, %v", d, err)
	}
}

// Whichever command fails, for whatever reason, there is no device.
func TestProbeFails(t *testing.T) {
	gone := errors.New("gone")
	for op := range forms {
		switch op {
		case OpReadCapacity10, OpSynchronizeCache10, OpSynchronizeCache16, OpThirdPartyOut:
			continue // not asked
		}
		for name, answer := range map[string]scripted{
			"an error":    func(*Command) (Completion, error) { return Completion{}, gone },
			"hardware":    func(*Command) (Completion, error) { return SenseCompletion(SenseCode{HardwareError, 0x44, 0}), nil },
			"the host":    func(*Command) (Completion, error) { return Completion{Host: 3}, nil },
			"no data":     func(c *Command) (Completion, error) { return Completion{Resid: len(c.Data)}, nil },
			"no sense":    func(*Command) (Completion, error) { return Completion{Status: CheckCondition}, nil },
			"reservation": func(*Command) (Completion, error) { return Completion{Status: ReservationConflict}, nil },
		} {
			if name == "no data" && op == OpTestUnitReady {
				continue
			}
			l := newLoop(LIO(), 1)
			d, err := Probe(t.Context(), scripted(func(c *Command) (Completion, error) {
				if c.Opcode() == op {
					return answer(c)
				}
				return l.Unit(0).Do(t.Context(), c)
			}))
			if err == nil || name == "no data" && !errors.Is(err, blocks.ErrShort) || name == "an error" && !errors.Is(err, gone) {
				t.Errorf("opcode %02xh, %s: %+v, %v", uint8(op), name, d, err)
			}
		}
	}
}

func TestProbeWaitsForUnitAttentionAndBusy(t *testing.T) {
	l := newLoop(LIO(), 1)
	l.Change(0, func(u *LoopbackUnit) {
		u.Attention = []SenseCode{{UnitAttention, 0x29, 0}, {UnitAttention, 0x3F, 0xE}, {UnitAttention, 0x2A, 9}}
	})
	if d := probe(t, l, 0); d.Support.Able != blocks.Yes {
		t.Errorf("%+v", d.Support)
	}
	synctest.Test(t, func(t *testing.T) {
		busy := 3
		start := time.Now()
		_, err := Probe(t.Context(), scripted(func(c *Command) (Completion, error) {
			if busy--; busy >= 0 {
				return Completion{Status: Busy}, nil
			}
			return l.Unit(0).Do(t.Context(), c)
		}))
		if err != nil || time.Since(start) != 700*time.Millisecond {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		tries := 0
		_, err = Probe(t.Context(), scripted(func(c *Command) (Completion, error) {
			tries++
			return SenseCompletion(SenseCode{UnitAttention, 0x29, 0}), nil
		}))
		if err == nil || tries != probeTries {
			t.Errorf("%v after %d tries", err, tries)
		}
	})
}

// A command that does not come back does not hold up the probe for ever.
func TestProbeTimesOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hang := make(chan struct{})
		start := time.Now()
		_, err := Probe(t.Context(), scripted(func(*Command) (Completion, error) {
			<-hang
			return Completion{}, nil
		}))
		if !errors.Is(err, blocks.ErrTimeout) || time.Since(start) != 2*probeTimeout {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := Probe(ctx, scripted(func(*Command) (Completion, error) { <-hang; return Completion{}, nil })); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		close(hang)
	})
}

func TestFlush(t *testing.T) {
	for short, want := range map[bool][]Opcode{false: {OpSynchronizeCache16}, true: {OpSynchronizeCache16, OpSynchronizeCache10}} {
		b := LIO()
		b.NoSync16 = short
		l := newLoop(b, 1)
		d := probe(t, l, 0)
		before := len(l.Log())
		if err := d.Flush(t.Context(), time.Minute); err != nil {
			t.Error(err)
		}
		var got []Opcode
		for _, e := range l.Log()[before:] {
			got = append(got, e.Command.Opcode())
			if e.Command.Timeout != time.Minute {
				t.Errorf("timeout %v", e.Command.Timeout)
			}
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%v, want %v", got, want)
		}
	}
	bad := &Device{Transport: scripted(func(*Command) (Completion, error) { return SenseCompletion(SenseCode{MediumError, 0x0C, 2}), nil })}
	if err := bad.Flush(t.Context(), 0); !errors.Is(err, SenseCompletion(SenseCode{MediumError, 0x0C, 2}).Err()) {
		t.Error(err)
	}
}

func TestCopyStatus(t *testing.T) {
	var asked []byte
	d := &Device{Transport: scripted(func(c *Command) (Completion, error) {
		if err := check(c); err != nil {
			return Completion{}, err
		}
		asked = c.CDB[:6]
		data := unhex(t, "00000008 02 0003 00 00000000")
		if c.CDB[1] == saReceiveStatusLID4 {
			data = append(unhex(t, "0000001c 01 11"), make([]byte, 26)...)
		}
		return fill(c, data), nil
	})}
	if s, err := d.CopyStatus(t.Context(), LID1, 9); err != nil || s.State != CopyFailed || fmt.Sprintf("%x", asked) != "840009000000" {
		t.Errorf("%+v, %v, asked %x", s, err, asked)
	}
	if s, err := d.CopyStatus(t.Context(), LID4, 0x01020304); err != nil || s.State != CopyInProgress || fmt.Sprintf("%x", asked) != "840501020304" {
		t.Errorf("%+v, %v, asked %x", s, err, asked)
	}
	if _, err := d.CopyStatus(t.Context(), LID1, 256); !errors.Is(err, blocks.ErrInvalid) {
		t.Error(err)
	}
	l := newLoop(LIO(), 1)
	if _, err := probe(t, l, 0).CopyStatus(t.Context(), LID1, 1); !illegal(err) {
		t.Errorf("LIO knows no status: %v", err)
	}
}

func TestSpan(t *testing.T) {
	one := CTL()
	one.Parameters.Descriptors = 1
	naa := func(n byte) []Designator { return LoopbackIdentity(n, Capacity{}).Designators }
	for name, tc := range map[string]struct {
		b    Behaviour
		edit func(*LoopbackUnit)
		want string
	}{
		"two units": {LIO(), nil, ""},
		"one name":  {LIO(), func(u *LoopbackUnit) { u.Designators = naa(0) }, "domain:duplicate-designator"},
		"one name of many": {LIO(), func(u *LoopbackUnit) {
			u.Designators[0] = naa(0)[0]
		}, "domain:duplicate-designator"},
		"one serial": {LIO(), func(u *LoopbackUnit) { u.Serial = LoopbackIdentity(0, Capacity{}).Serial }, "domain:not-distinct"},
		"numbers in common": {LIO(), func(u *LoopbackUnit) {
			u.Designators = append(u.Designators, Designator{codeBinary, LogicalUnit, 0, []byte{7}}, Designator{codeBinary, LogicalUnit, 5, []byte{0, 0, 0, 1}})
		}, ""},
		"no serial": {LIO(), func(u *LoopbackUnit) { u.Serial = "" }, ""},
		"another target": {LIO(), func(u *LoopbackUnit) {
			for i := range u.Designators {
				if u.Designators[i].Association != LogicalUnit && u.Designators[i].Type == TypeName {
					u.Designators[i].Value = []byte(strings.Replace(string(u.Designators[i].Value), "a", "b", 2))
				}
			}
		}, "domain:different-target"},
		"only numbers in common": {LIO(), func(u *LoopbackUnit) { u.Designators = u.Designators[:3] }, "domain:different-target"},
		"one port, no device":    {LIO(), func(u *LoopbackUnit) { u.Designators = u.Designators[:4] }, ""},
		"block sizes":            {LIO(), func(u *LoopbackUnit) { u.Capacity = Capacity{8, 4096, false} }, "domain:block-size"},
		"one descriptor":         {one, nil, "domain:one-unit-only"},
		"the other is unable":    {LIO(), func(u *LoopbackUnit) { u.Capacity.Protected = true }, "domain:metadata"},
	} {
		l := newLoop(tc.b, 2)
		if tc.edit != nil {
			l.Change(1, tc.edit)
		}
		a, b := probe(t, l, 0), probe(t, l, 1)
		for _, pair := range [][2]*Device{{a, b}, {b, a}} {
			limits, s := Span(pair[0], pair[1])
			if s.Reason != tc.want || (s.Able == blocks.Yes) != (tc.want == "") || (s.Detail == "") != (tc.want == "") || limits.Valid() != (tc.want == "") {
				t.Errorf("%s: %+v, %v", name, s, limits)
			}
		}
		if _, s := Span(a, a); s.Able != blocks.Yes {
			t.Errorf("%s: within: %+v", name, s)
		}
	}
}

// A second path to a unit is a device of its own with the same names.
func TestSpanPaths(t *testing.T) {
	l := newLoop(LIO(), 1)
	a, b := probe(t, l, 0), probe(t, l, 0)
	if _, s := Span(a, b); s.Reason != "domain:duplicate-designator" {
		t.Errorf("%+v", s)
	}
}
