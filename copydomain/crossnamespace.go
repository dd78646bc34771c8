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

// CrossNamespace says what to do about controllers that can copy from one namespace to
// another, but for which the host has not enabled it (descriptor format 2 of Host Behavior
// Support, feature 16h). Enabling it widens what commands can read: the kernel checks which
// namespace a command writes, not which ones it reads.
type CrossNamespace uint8

const (
	// CrossAsFound: such pairs have no method.
	CrossAsFound CrossNamespace = iota
	// CrossForecast: pairs are what they would be if it were enabled.
	CrossForecast
	// CrossEnable: it is enabled when a pair needs it, and disabled again by Close.
	CrossEnable
)

// crossNamespace is what a Finder knows about controllers.
type crossNamespace struct {
	mode CrossNamespace
	log  *slog.Logger

	mu          sync.Mutex
	controllers map[string]*controller
	forecast    map[string]string // what would be done, by controller
}

// controller is one that was opened.
type controller struct {
	nvme.Transport
	// enabled: this finder has set the bit of format 2, or may have.
	enabled bool
}

// CrossNamespaces decides about copies from one namespace to another. It is called
// before the first pair is asked for.
func (f *Finder) CrossNamespaces(mode CrossNamespace, log *slog.Logger) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	f.crossNamespace.mode, f.crossNamespace.log = mode, log
}

// Forecast lists what [CrossEnable] would do for the pairs that were asked for
// under [CrossForecast].
func (f *Finder) Forecast() []string {
	c := f.crossNamespace
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
	if why := nvme.CrossNamespaceSupport(ends[0], ends[1]); why.Able != blocks.Yes {
		pair.Reason, pair.Detail = remap.Reason(why.Reason), fmt.Sprintf("%s and %s: %s", pair.Src.Name, pair.Dst.Name, why.Detail)
		return pair
	}
	pair.Reason, pair.Detail = f.able(ctx, pair, ends, f.crossNamespace.mode)
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

// able says why the controllers that may execute a command of the pair cannot, or
// will not. Without a reason, detail is what has to be done first.
func (f *namespaces) able(ctx context.Context, pair Pair, ends [2]*nvme.Device, mode CrossNamespace) (why remap.Reason, detail string) {
	names, why, detail := f.sharedControllers(pair)
	if why != "" {
		return why, detail
	}
	c := &f.crossNamespace
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, name := range names {
		if why, detail := c.attached(ctx, name, f.open.Controller, ends); why != "" {
			return why, fmt.Sprintf("%s: %s", name, detail)
		}
	}
	for _, name := range names {
		why, note := c.enableFormat2(ctx, name, mode)
		if why != "" {
			return why, note
		}
		if note != "" {
			detail = note
		}
	}
	return "", detail
}

// sharedControllers lists the controllers to which the kernel may send a command of the
// pair. The kernel looks at the paths to the destination only, so each has to lead
// to the source as well.
func (f *namespaces) sharedControllers(pair Pair) ([]string, remap.Reason, string) {
	names, err := f.open.Controllers(pair.Dst)
	sources, srcErr := f.open.Controllers(pair.Src)
	if err := errors.Join(err, srcErr); err != nil {
		return nil, ReasonProbeFailed, err.Error()
	}
	for _, name := range names {
		if !slices.Contains(sources, name) {
			return nil, ReasonNotReachable, fmt.Sprintf("controller %s leads to %s and not to %s", name, pair.Dst.Name, pair.Src.Name)
		}
	}
	if len(names) == 0 {
		return nil, ReasonNotReachable, fmt.Sprintf("no controller leads to %s", pair.Dst.Name)
	}
	return names, "", ""
}

// attached asks a controller for both namespaces. One that was open before can have gone, and another one
// come under its name.
func (c *crossNamespace) attached(ctx context.Context, name string, open func(string) (nvme.Transport, error), ends [2]*nvme.Device) (remap.Reason, string) {
	known := c.controllers[name] != nil
	if err := c.open(name, open); err != nil {
		return lostController(err)
	}
	said, err := nvme.Attached(ctx, c.controllers[name], ends[0], ends[1])
	if err != nil && known && ctx.Err() == nil {
		was := c.controllers[name]
		delete(c.controllers, name)
		if err := c.open(name, open); err != nil {
			c.controllers[name] = was // which is to be set back, if it can
			return lostController(err)
		}
		c.controllers[name].enabled = was.enabled
		_ = was.Close() // nothing was written to it
		said, err = nvme.Attached(ctx, c.controllers[name], ends[0], ends[1])
	}
	switch {
	case err != nil:
		return ReasonProbeFailed, err.Error()
	case said.Able != blocks.Yes:
		return remap.Reason(said.Reason), said.Detail
	}
	return "", ""
}

// open opens a controller that is not open.
func (c *crossNamespace) open(name string, open func(string) (nvme.Transport, error)) error {
	if c.controllers[name] != nil {
		return nil
	}
	t, err := open(name)
	if err != nil {
		return err
	}
	if c.controllers == nil {
		c.controllers = make(map[string]*controller)
	}
	c.controllers[name] = &controller{Transport: t}
	return nil
}

// lostController explains why a controller cannot be opened.
func lostController(err error) (remap.Reason, string) {
	if errors.Is(err, fs.ErrPermission) {
		return ReasonPermission, err.Error()
	}
	return ReasonProbeFailed, err.Error()
}

// enableFormat2 makes sure that format 2 is enabled for a controller, as far as the mode
// lets it.
func (c *crossNamespace) enableFormat2(ctx context.Context, name string, mode CrossNamespace) (remap.Reason, string) {
	ctl := c.controllers[name]
	found, err := nvme.ReadBehavior(ctx, ctl)
	switch {
	case err != nil:
		return ReasonCrossDisabled, fmt.Sprintf("%s cannot be asked whether it copies between namespaces: %v", name, err)
	case found.CopyFormats().Has(nvme.Format2):
		return "", ""
	case mode == CrossForecast:
		note := fmt.Sprintf("copies between namespaces have to be enabled on %s first (feature 16h), if the kernel lets that pass", name)
		if c.forecast == nil {
			c.forecast = make(map[string]string)
		}
		c.forecast[name] = note
		return "", note
	case mode == CrossAsFound:
		return ReasonCrossDisabled, fmt.Sprintf("copies between namespaces are not enabled on %s (feature 16h)", name)
	}
	setter, ok := ctl.Transport.(nvme.BehaviorSetter)
	if !ok {
		return ReasonCrossDisabled, fmt.Sprintf("%s is not reached in a way that sets features", name)
	}
	setter.AllowSetBehavior()
	changed, err := nvme.SetCopyFormat(ctx, setter, nvme.Format2, true)
	ctl.enabled = ctl.enabled || changed
	if err != nil {
		return ReasonCrossDisabled, fmt.Sprintf("copies between namespaces cannot be enabled on %s: %v", name, err)
	}
	c.log.Info("copies between namespaces enabled until this copy ends", "controller", name)
	return "", ""
}

// restore disables format 2 again where it was enabled here, and closes all controllers.
// It does so even if the copy was ended.
func (c *crossNamespace) restore() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(c.controllers)) {
		ctl := c.controllers[name]
		if ctl.enabled {
			if _, err := nvme.SetCopyFormat(context.Background(), ctl.Transport, nvme.Format2, false); err != nil {
				errs = append(errs, fmt.Errorf("copydomain: copies between namespaces stay enabled on %s: %w", name, err))
			}
		}
		errs = append(errs, ctl.Close())
	}
	clear(c.controllers)
	return errors.Join(errs...)
}
