package scsi

import (
	"context"
	"sync"

	"github.com/dmcopy/dmcopy/copydomain"
	"github.com/dmcopy/dmcopy/internal/dispatch/machine"
	"github.com/dmcopy/dmcopy/remap"
)

// onlooker stands between a copy and the machine, and knows when commands are issued.
type onlooker struct {
	// before is called before each batch of commands, counted from 0, and under
	// before each command.
	before func(n int, pair copydomain.Pair)
	under  func(n int)

	mu       sync.Mutex
	batches  int
	commands int
	used     map[string]int // batches by the path to the destination
}

// in returns the machine with the onlooker before it.
func (o *onlooker) in(m machine.Machine) machine.Machine {
	return seen{m, o}
}

type seen struct {
	machine.Machine
	by *onlooker
}

// Copier implements [machine.Machine].
func (m seen) Copier(ctx context.Context, pair copydomain.Pair, opt copydomain.CopyOptions) (copydomain.Copier, error) {
	allowed := opt.Allowed
	opt.Allowed = func(dst, length remap.Sector) error {
		err := allowed(dst, length)
		if err == nil {
			m.by.command()
		}
		return err
	}
	copier, err := m.Machine.Copier(ctx, pair, opt)
	return watched{copier, m.by, pair}, err
}

type watched struct {
	copydomain.Copier
	by   *onlooker
	pair copydomain.Pair
}

// Copy implements [copydomain.Copier].
func (w watched) Copy(ctx context.Context, moves []copydomain.Move) (copydomain.Result, error) {
	w.by.batch(w.pair)
	return w.Copier.Copy(ctx, moves)
}

func (o *onlooker) batch(pair copydomain.Pair) {
	o.mu.Lock()
	n := o.batches
	o.batches++
	if o.used == nil {
		o.used = make(map[string]int)
	}
	o.used[pair.Dst.Name]++
	o.mu.Unlock()
	if o.before != nil {
		o.before(n, pair)
	}
}

func (o *onlooker) command() {
	o.mu.Lock()
	n := o.commands
	o.commands++
	o.mu.Unlock()
	if o.under != nil {
		o.under(n)
	}
}
