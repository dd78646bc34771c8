package dispatch

import (
	"errors"
	"sync"

	"github.com/dmcopy/dmcopy/internal/dispatch/ends"
	"github.com/dmcopy/dmcopy/internal/dispatch/hold"
	"github.com/dmcopy/dmcopy/internal/dispatch/machine"
	"github.com/dmcopy/dmcopy/remap"
)

// Volume is an end that stays open for several copies. What holds its layout stays with it: the
// processes of an anchor are started once. They keep the device open, so that nobody can remove
// it until the volume is closed.
type Volume struct {
	ends.Endpoint

	mu   sync.Mutex
	idle map[hold.Mode]machine.Holder // that no copy uses
}

// Open makes a volume of an end, which is closed with it.
func (e *Engine) Open(end ends.Endpoint) *Volume {
	return &Volume{Endpoint: end, idle: make(map[hold.Mode]machine.Holder)}
}

// Close lets go of the device or file, and of what holds it. No copy may use it any more.
func (v *Volume) Close() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	var errs []error
	for mode, h := range v.idle {
		errs = append(errs, h.Close())
		delete(v.idle, mode)
	}
	return errors.Join(append(errs, v.Endpoint.Close())...)
}

// take returns a holder that nobody else uses: the idle one, or a new one.
func (v *Volume) take(m machine.Machine, mode hold.Mode, dst *remap.Node) machine.Holder {
	if v == nil {
		return m.Holder(mode, dst)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if h := v.idle[mode]; h != nil {
		delete(v.idle, mode)
		return h
	}
	return m.Holder(mode, dst)
}

// giveBack keeps a holder for the next copy, unless there is one already, or it holds nothing.
func (v *Volume) giveBack(mode hold.Mode, h machine.Holder) error {
	if v == nil || h.Ready() != nil {
		return h.Close()
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.idle[mode] != nil {
		return h.Close()
	}
	v.idle[mode] = h
	return nil
}
