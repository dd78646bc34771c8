package proof

import (
	"context"
	"errors"
	"sync"

	"github.com/dmcopy/dmcopy/emulation"
	"github.com/dmcopy/dmcopy/internal/dispatch/ends"
	"github.com/dmcopy/dmcopy/internal/dispatch/machine"
	"github.com/dmcopy/dmcopy/remap"
)

// Leaves are the leaves of a copy, opened for reading once each. They can be asked for side by
// side.
type Leaves struct {
	machine machine.Machine
	files   []ends.Endpoint // that stand for leaves

	mu   sync.Mutex
	open map[remap.Dev]machine.Leaf
}

// NewLeaves opens none yet. Ends that are files are leaves themselves.
func NewLeaves(m machine.Machine, all ...ends.Endpoint) *Leaves {
	l := &Leaves{machine: m, open: make(map[remap.Dev]machine.Leaf)}
	for _, end := range all {
		if end.File != nil {
			l.files = append(l.files, end)
		}
	}
	return l
}

// Open returns an opened leaf.
func (l *Leaves) Open(ctx context.Context, n *remap.Node) (machine.Leaf, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if leaf := l.open[n.Dev]; leaf != nil {
		return leaf, nil
	}
	for _, end := range l.files {
		if end.Dev == n.Dev {
			return fileLeaf{end.Device}, nil
		}
	}
	leaf, err := l.machine.OpenLeaf(ctx, n)
	if err == nil {
		l.open[n.Dev] = leaf
	}
	return leaf, err
}

// Close closes what was opened.
func (l *Leaves) Close() error {
	var errs []error
	for _, leaf := range l.open {
		errs = append(errs, leaf.Close())
	}
	return errors.Join(errs...)
}

// fileLeaf is an end that is a file, for reading back.
type fileLeaf struct{ emulation.Device }

// Async is how transfers are left to the kernel (see [emulation.Async]).
func (l fileLeaf) Async() emulation.Start { return emulation.Async(l.Device) }

// Close implements [Leaf]: the end is closed by whoever opened it.
func (fileLeaf) Close() error { return nil }
