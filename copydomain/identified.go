package copydomain

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"sync"
	"time"

	"github.com/dmcopy/dmcopy/remap"
)

// keepFailures is how long a leaf that could not be identified is not asked again.
const keepFailures = 10 * time.Minute

// A device is what a protocol knows of a leaf.
type device[D any] interface {
	comparable
	// Succeed takes over what is under way on the device that the leaf was before. It returns false if that cannot be.
	Succeed(before D) bool
}

// A transport leads to a leaf. The zero value is none.
type transport interface {
	comparable
	io.Closer
}

// identified is what was found out about a leaf.
type identified[D device[D], T transport] struct {
	name      string // of the disk when it was identified
	device    D      // nil if nothing is known
	transport T      // nil, or open
	reason    remap.Reason
	detail    string

	print  remap.Fingerprint
	epoch  Epoch
	failed bool // it could not be identified
	at     time.Time
}

// current tells whether what was found out about a leaf still counts. A finder can outlive it:
// the disk grows, is replaced, answers again, or is given other limits. One that could not be identified
// is not asked again without a reason.
func (i *identified[D, T]) current(leaf *remap.Node, now Epoch) bool {
	if i.failed {
		return i.print == leaf.Print && !i.epoch.Passed(now) && time.Since(i.at) <= keepFailures
	}
	return i.print == leaf.Print && i.epoch.Until(now)
}

// leaves are those that one protocol has identified, and the copiers between them.
type leaves[D device[D], T transport, C any] struct {
	epochs  *epochs
	mu      sync.Mutex
	found   map[remap.Dev]identified[D, T]
	copiers map[[2]remap.Dev]C // by source and destination, made on first use
	// replaced led to leaves that were identified again since. They stay open until the
	// finder is closed: a copy may be using them.
	replaced []io.Closer
}

// find identifies a leaf, once for as long as nothing happens to it. Identify goes through the transport
// that is open to the same disk, if there is one.
func (l *leaves[D, T, C]) find(ctx context.Context, leaf *remap.Node, identify func(ctx context.Context, leaf *remap.Node, open T) identified[D, T]) identified[D, T] {
	l.mu.Lock()
	defer l.mu.Unlock()
	epoch := l.epochs.of(leaf) // before it is asked: what happens meanwhile counts
	before, known := l.found[leaf.Dev]
	if known && before.current(leaf, epoch) {
		return before
	}
	var noDevice D
	var closed, open T
	if known && before.print == leaf.Print {
		open = before.transport
	}
	now := identify(ctx, leaf, open)
	now.print, now.epoch, now.failed, now.at = leaf.Print, epoch, now.device == noDevice, time.Now()
	if now.failed { // what its failure looks like is no reason to ask it again
		now.epoch = l.epochs.of(leaf)
	}
	if ctx.Err() != nil { // that says nothing about the leaf
		if now.transport != closed && now.transport != open {
			now.transport.Close()
		}
		return identified[D, T]{reason: ReasonProbeFailed, detail: ctx.Err().Error()}
	}
	if known {
		if before.transport != closed && before.transport != now.transport {
			l.replaced = append(l.replaced, before.transport)
		}
		// New ones are made for the leaf as it is.
		maps.DeleteFunc(l.copiers, func(key [2]remap.Dev, _ C) bool { return key[0] == leaf.Dev || key[1] == leaf.Dev })
		switch {
		case now.failed:
			now.device = before.device // whose fences stand
		case before.device != noDevice && !now.device.Succeed(before.device):
			now.reason, now.detail = ReasonIdentity, fmt.Sprintf("%s has another size or block size than before, and a command of unknown fate may still write to it", leaf.Name)
		}
	}
	if l.found == nil {
		l.found = make(map[remap.Dev]identified[D, T])
	}
	l.found[leaf.Dev] = now
	return now
}

// copier returns what issues commands for a pair whose ends, source and destination, were identified, for whoever
// asks. Another copy can have identified them again since.
func (l *leaves[D, T, C]) copier(pair Pair, create func(ends [2]D) (C, error)) (c C, ends [2]D, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	key := [2]remap.Dev{pair.Src.Dev, pair.Dst.Dev}
	for i, leaf := range []*remap.Node{pair.Src, pair.Dst} {
		switch found := l.found[key[i]]; {
		case found.reason != "":
			return c, ends, &Withdrawn{found.reason, found.detail}
		case found.print != leaf.Print:
			return c, ends, &Withdrawn{ReasonIdentity, leaf.Name + " is another disk than the one that was planned with"}
		}
	}
	ends = [2]D{l.found[key[0]].device, l.found[key[1]].device}
	c, known := l.copiers[key]
	if known {
		return c, ends, nil
	}
	if c, err = create(ends); err != nil {
		return c, ends, err
	}
	if l.copiers == nil {
		l.copiers = make(map[[2]remap.Dev]C)
	}
	l.copiers[key] = c
	return c, ends, nil
}

func (l *leaves[D, T, C]) close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	var errs []error
	var closed T
	for _, leaf := range l.found {
		if leaf.transport != closed {
			errs = append(errs, leaf.transport.Close())
		}
	}
	for _, transport := range l.replaced {
		errs = append(errs, transport.Close())
	}
	clear(l.found)
	clear(l.copiers)
	l.replaced = nil
	return errors.Join(errs...)
}
