package fakestack

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/dmcopy/dmcopy/internal/boottime"
	"github.com/dmcopy/dmcopy/internal/dispatch/hold"
	"github.com/dmcopy/dmcopy/internal/dispatch/machine"
	"github.com/dmcopy/dmcopy/remap"
)

// expiry is how long an anchor holds by itself, as that of package hold.
const expiry = 4 * time.Second

// holder implements machine.Holder.
type holder struct {
	m    *Machine
	mode hold.Mode
	dst  remap.Dev
}

// Holder implements machine.Machine.
func (m *Machine) Holder(mode hold.Mode, dst *remap.Node) machine.Holder {
	return &holder{m, mode, dst.Dev}
}

// Ready implements machine.Holder.
func (h *holder) Ready() error {
	if h.mode == hold.None || h.mode == hold.Auto && h.m.NoAnchor {
		return &hold.Error{Means: "anchor", On: h.dst.String(), Err: hold.ErrUnavailable}
	}
	return nil
}

// Close implements machine.Holder.
func (h *holder) Close() error {
	if h.m.anchoredAtAll() {
		return fmt.Errorf("fakestack: holder closed while an anchor is in flight")
	}
	return nil
}

func (m *Machine) anchoredAtAll() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.anyHeld()
}

// Hold implements machine.Holder.
func (h *holder) Hold(_ context.Context, req hold.Request) (hold.Held, error) {
	n := h.m.call("hold")
	if hook := h.m.Hooks.Hold; hook != nil {
		if err := hook(n); err != nil {
			return nil, err
		}
	}
	held, err := h.anchor(n, req)
	if err != nil {
		return nil, err
	}
	h.m.mu.Lock()
	h.m.current = held
	h.m.mu.Unlock()
	if hook := h.m.Hooks.Held; hook != nil {
		hook(n)
	}
	h.m.Await()
	return held, nil
}

// anchor puts an anchor in flight where the request says.
func (h *holder) anchor(n int, req hold.Request) (*held, error) {
	held := &held{m: h.m, n: n, nodes: make(map[remap.Dev]bool), until: boottime.Forever}
	if !slices.ContainsFunc(req.Chains, func(c hold.Chain) bool { return len(c.Nodes) > 0 }) {
		return held, nil
	}
	if err := h.Ready(); err != nil || h.mode == hold.Trust {
		return held, err
	}
	m := h.m
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, c := range req.Chains {
		for s := range min(c.Len, 128) {
			passed, leaf := m.passed(h.dst, c.Start+s)
			if !slices.Equal(passed, c.Nodes) || leaf != c.Leaf {
				return nil, contended(h.dst, fmt.Sprintf("sector %d passes %v and not %v", c.Start+s, passed, c.Nodes))
			}
		}
		for _, dev := range c.Nodes {
			if m.blocked(dev) {
				return nil, contended(dev, "a swap waits")
			}
			held.nodes[dev] = true
		}
	}
	m.holds[held] = true
	held.timer = time.AfterFunc(expiry, held.expire)
	held.prolong()
	return held, nil
}

func contended(dev remap.Dev, why string) error {
	return &hold.Error{Means: "anchor", On: dev.String(), Err: fmt.Errorf("%s: %w", why, hold.ErrContended)}
}

// passed lists the devices of a sector whose tables can be swapped, and where
// the sector ends.
func (m *Machine) passed(dev remap.Dev, s remap.Sector) (nodes []remap.Dev, leaf remap.Dev) {
	d := m.devices[dev]
	if d == nil || d.leaf != nil {
		return nil, dev
	}
	if d.kind != partition {
		nodes = append(nodes, dev)
	}
	b := d.table.bio(false, s)
	if len(b.to) == 0 {
		return nodes, remap.Dev{}
	}
	below, leaf := m.passed(b.to[0].Dev, b.to[0].Start)
	return append(nodes, below...), leaf
}

// anchored tells whether a read is kept in flight through the device.
func (m *Machine) anchored(dev remap.Dev) bool {
	for h := range m.holds {
		if h.nodes[dev] {
			return true
		}
	}
	return false
}

func (m *Machine) anyHeld() bool { return len(m.holds) > 0 }

// Expire ends all anchors earlier than they have promised, as if their throttle had let
// them go.
func (m *Machine) Expire() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for h := range m.holds {
		h.early = true
		h.end()
	}
}

var errLost = &hold.Error{Means: "anchor", On: "the destination", Err: hold.ErrLost}

// held is an anchor in flight, or the open descriptor.
type held struct {
	m     *Machine
	n     int
	nodes map[remap.Dev]bool // empty for a descriptor
	timer *time.Timer
	until boottime.Instant // when it ends by itself
	lost  bool
	early bool // it has ended before it was to end by itself
}

func (h *held) expire() {
	h.m.mu.Lock()
	defer h.m.mu.Unlock()
	h.end()
}

// end lets go of the nodes. A descriptor does not end.
func (h *held) end() {
	if len(h.nodes) > 0 && h.m.holds[h] {
		h.lost = true
		delete(h.m.holds, h)
		h.m.moved.Broadcast()
	}
}

// Check implements hold.Held.
func (h *held) Check() error {
	h.m.Await()
	h.m.mu.Lock()
	defer h.m.mu.Unlock()
	if h.lost {
		return errLost
	}
	return nil
}

// Extend implements hold.Held.
func (h *held) Extend() error {
	h.m.call("extend")
	h.m.mu.Lock()
	defer h.m.mu.Unlock()
	if h.lost {
		return errLost
	}
	h.prolong()
	return nil
}

// prolong makes the hold last for an expiry more.
func (h *held) prolong() {
	if len(h.nodes) == 0 {
		return
	}
	h.until = h.m.Now().Add(expiry)
	h.timer.Reset(expiry)
}

// Deadline implements hold.Held: not a moment earlier than the hold ends.
func (h *held) Deadline() boottime.Instant {
	h.m.mu.Lock()
	defer h.m.mu.Unlock()
	return h.until
}

// Release implements hold.Held.
func (h *held) Release() error {
	if hook := h.m.Hooks.Release; hook != nil {
		hook(h.n)
	}
	h.m.mu.Lock()
	defer h.m.mu.Unlock()
	if h.timer != nil {
		h.timer.Stop()
	}
	delete(h.m.holds, h)
	if h.m.current == h {
		h.m.current = nil
	}
	h.m.moved.Broadcast()
	return nil
}
