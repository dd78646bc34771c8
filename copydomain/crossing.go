package copydomain

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"slices"
	"sync"

	"github.com/dmcopy/dmcopy/copydomain/blocks"
	"github.com/dmcopy/dmcopy/copydomain/nvme"
	"github.com/dmcopy/dmcopy/remap"
)

// CrossNamespace says what to do about controllers that know how to copy from one
// namespace to another but have not been told to by the host (descriptor format
// 2, feature 16h). Being told opens a door: the kernel checks which namespace a
// command writes, not which ones it reads.
type CrossNamespace uint8

const (
	// CrossAsFound: such pairs have no method.
	CrossAsFound CrossNamespace = iota
	// CrossForecast: pairs are what they would be if the controllers were told.
	CrossForecast
	// CrossEnable: controllers are told when a pair needs it, and untold by
	// Close.
	CrossEnable
)

// crossing is what a Finder knows about controllers.
type crossing struct {
	mode CrossNamespace
	log  *slog.Logger

	mu          sync.Mutex
	controllers map[string]*controller
	forecast    map[string]string // what would be done, by controller
}

// controller is one that was opened.
type controller struct {
	nvme.Transport
	// told: the bit of format 2 was set here, or may have been.
	told bool
}

// CrossNamespaces decides about copies from one namespace to another. It is called
// before the first pair is asked for.
func (f *Finder) CrossNamespaces(mode CrossNamespace, log *slog.Logger) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	f.crossing.mode, f.crossing.log = mode, log
}

// Forecast lists what [CrossEnable] would do for the pairs that were asked for
// under [CrossForecast].
func (f *Finder) Forecast() []string {
	c := f.crossing
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Sorted(maps.Values(c.forecast))
}

// crossPair answers for two namespaces of one subsystem.
func (f *namespaces) crossPair(ctx context.Context, pair Pair) Pair {
	if f.open.Controllers == nil {
		pair.Reason, pair.Detail = ReasonOtherNamespace, fmt.Sprintf("%s and %s are different namespaces", pair.Src.Name, pair.Dst.Name)
		return pair
	}
	var ends [2]*nvme.Device
	for i, leaf := range []*remap.Node{pair.Src, pair.Dst} {
		p := f.probe(ctx, leaf)
		if p.reason != "" {
			pair.Reason, pair.Detail = p.reason, fmt.Sprintf("%s: %s", leaf.Name, p.detail)
			return pair
		}
		ends[i] = p.device
	}
	if why := nvme.Crossing(ends[0], ends[1]); why.Able != blocks.Yes {
		pair.Reason, pair.Detail = remap.Reason(why.Reason), fmt.Sprintf("%s and %s: %s", pair.Src.Name, pair.Dst.Name, why.Detail)
		return pair
	}
	pair.Reason, pair.Detail = f.able(ctx, pair, ends, f.crossing.mode)
	if pair.Reason != "" {
		return pair
	}
	ns := ends[1].Namespace
	limits := ns.Limits.Min(ends[0].Namespace.Limits)
	pair.Method = NVMeCopyXNS
	pair.Domain = "nvme:" + ends[1].Controller.Serial
	pair.Block = int(ns.BlockSize)
	pair.CommandBytes = int64(limits.CommandBlocks) * int64(ns.BlockSize)
	pair.Limits = limits.String()
	return pair
}

// able tells why the controllers that may execute a command of the pair cannot, or
// will not. Without a reason, detail is what would be done for it first.
func (f *namespaces) able(ctx context.Context, pair Pair, ends [2]*nvme.Device, mode CrossNamespace) (why remap.Reason, detail string) {
	names, why, detail := f.leading(pair)
	if why != "" {
		return why, detail
	}
	c := &f.crossing
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, name := range names {
		if why, detail := c.attached(ctx, name, f.open.Controller, ends); why != "" {
			return why, fmt.Sprintf("%s: %s", name, detail)
		}
	}
	for _, name := range names {
		why, note := c.listening(ctx, name, mode)
		if why != "" {
			return why, note
		}
		if note != "" {
			detail = note
		}
	}
	return "", detail
}

// leading lists the controllers to which the kernel may send a command of the
// pair. The kernel looks at the paths to the destination only, so each has to be
// one to the source as well.
func (f *namespaces) leading(pair Pair) ([]string, remap.Reason, string) {
	names, err := f.open.Controllers(pair.Dst)
	sources, srcErr := f.open.Controllers(pair.Src)
	if err := errors.Join(err, srcErr); err != nil {
		return nil, ReasonProbeFailed, err.Error()
	}
	for _, name := range names {
		if !slices.Contains(sources, name) {
			return nil, ReasonNotReachable, fmt.Sprintf("%s leads to %s and not to %s", name, pair.Dst.Name, pair.Src.Name)
		}
	}
	if len(names) == 0 {
		return nil, ReasonNotReachable, fmt.Sprintf("no controller leads to %s", pair.Dst.Name)
	}
	return names, "", ""
}

// attached asks a controller for both namespaces.
func (c *crossing) attached(ctx context.Context, name string, open func(string) (nvme.Transport, error), ends [2]*nvme.Device) (remap.Reason, string) {
	if c.controllers[name] == nil {
		t, err := open(name)
		switch {
		case errors.Is(err, fs.ErrPermission):
			return ReasonPermission, err.Error()
		case err != nil:
			return ReasonProbeFailed, err.Error()
		}
		if c.controllers == nil {
			c.controllers = make(map[string]*controller)
		}
		c.controllers[name] = &controller{Transport: t}
	}
	said, err := nvme.Attached(ctx, c.controllers[name], ends[0], ends[1])
	switch {
	case err != nil:
		return ReasonProbeFailed, err.Error()
	case said.Able != blocks.Yes:
		return remap.Reason(said.Reason), said.Detail
	}
	return "", ""
}

// listening looks whether a controller takes format 2, and tells it to where that
// is wanted.
func (c *crossing) listening(ctx context.Context, name string, mode CrossNamespace) (remap.Reason, string) {
	ctl := c.controllers[name]
	found, err := nvme.ReadBehavior(ctx, ctl)
	switch {
	case err != nil:
		return ReasonCrossDisabled, fmt.Sprintf("%s does not tell whether it copies between namespaces: %v", name, err)
	case found.CopyFormats().Has(nvme.Format2):
		return "", ""
	case mode == CrossForecast:
		note := fmt.Sprintf("%s has to be told first that it may copy between namespaces (feature 16h), if the kernel lets that pass", name)
		if c.forecast == nil {
			c.forecast = make(map[string]string)
		}
		c.forecast[name] = note
		return "", note
	case mode == CrossAsFound:
		return ReasonCrossDisabled, fmt.Sprintf("%s has not been told that it may copy between namespaces (feature 16h)", name)
	}
	setter, ok := ctl.Transport.(nvme.BehaviorSetter)
	if !ok {
		return ReasonCrossDisabled, fmt.Sprintf("%s is not reached in a way that sets features", name)
	}
	setter.AllowSetBehavior()
	changed, err := nvme.SetCopyFormat(ctx, setter, nvme.Format2, true)
	ctl.told = ctl.told || changed
	if err != nil {
		return ReasonCrossDisabled, fmt.Sprintf("%s cannot be told to copy between namespaces: %v", name, err)
	}
	c.log.Info("copies between namespaces enabled until this copy ends", "controller", name)
	return "", ""
}

// restore untells the controllers that were told, and lets all of them go. It does
// so even if the copy was ended.
func (c *crossing) restore() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(c.controllers)) {
		ctl := c.controllers[name]
		if ctl.told {
			if _, err := nvme.SetCopyFormat(context.Background(), ctl.Transport, nvme.Format2, false); err != nil {
				errs = append(errs, fmt.Errorf("copydomain: %s is left able to copy between namespaces: %w", name, err))
			}
		}
		errs = append(errs, ctl.Close())
	}
	clear(c.controllers)
	return errors.Join(errs...)
}
