package watch

import (
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/internal/sysfs"
	"github.com/dmcopy/dmcopy/remap"
)

// source is one of the ways in which the kernel tells that something happened.
type source interface {
	name() string
	// poll is what to wait for.
	poll() unix.PollFd
	// event takes what has arrived and tells whether it may concern the scope. A
	// source that fails has nothing more to tell.
	event(s scope) (bool, error)
	Close() error
}

// scope is what a Watcher is for.
type scope struct {
	devs   map[remap.Dev]bool
	mapped bool // some of them are mapped devices
}

// Watcher listens for events. A source that cannot be opened is left out: then there are fewer.
type Watcher struct {
	root   sysfs.Root
	log    *slog.Logger
	waker  *waker
	events chan struct{}

	orders chan []remap.Dev // taken when woken; its end is the end of run
	taken  chan struct{}
	ended  chan struct{}

	// Only run touches these.
	sources []source
	scope   scope

	mu     sync.Mutex
	counts map[string]int64
}

// Open begins to listen to what a machine tells.
func Open(root sysfs.Root, log *slog.Logger) (*Watcher, error) {
	wake, err := newWaker()
	if err != nil {
		return nil, fmt.Errorf("watch: %w", err)
	}
	w := &Watcher{
		root: root, log: log, waker: wake, events: make(chan struct{}, 1),
		orders: make(chan []remap.Dev, 1), taken: make(chan struct{}), ended: make(chan struct{}),
		counts: make(map[string]int64),
	}
	w.add("device-mapper", func() (source, error) { return openMapper(w.root) })
	w.add("uevents", openUevents)
	go w.run()
	return w, nil
}

// add adds a source if there is one.
func (w *Watcher) add(name string, open func() (source, error)) {
	s, err := open()
	if err != nil {
		w.log.Debug("not watched", "source", name, "error", err)
		return
	}
	w.sources = append(w.sources, s)
}

// Follow sets the devices whose events count from now on, instead of those before. One call
// at a time.
func (w *Watcher) Follow(devs []remap.Dev) {
	select {
	case w.orders <- slices.Clone(devs):
	case <-w.ended:
		return
	}
	w.waker.wake()
	select {
	case <-w.taken:
	case <-w.ended:
	}
}

// Events has a token once there was an event that may concern the devices. What
// happens until the token is taken adds none.
func (w *Watcher) Events() <-chan struct{} { return w.events }

// Counts tells how often each source has woken.
func (w *Watcher) Counts() map[string]int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return maps.Clone(w.counts)
}

// Close ends it. No other call is under way or comes later.
func (w *Watcher) Close() error {
	close(w.orders)
	w.waker.wake()
	<-w.ended
	for _, s := range w.sources {
		_ = s.Close() // nothing was written to it
	}
	w.log.Debug("watch ended", "woken", w.Counts())
	return w.waker.Close()
}

// run waits for the sources until there are no more orders.
func (w *Watcher) run() {
	defer close(w.ended)
	for {
		fds := []unix.PollFd{w.waker.poll()}
		for _, s := range w.sources {
			fds = append(fds, s.poll())
		}
		switch _, err := unix.Poll(fds, -1); {
		case err == unix.EINTR:
			continue
		case err != nil:
			w.log.Debug("watch ends", "error", err)
			return
		}
		w.receive(fds[1:])
		if fds[0].Revents != 0 && !w.takeOrder() {
			return
		}
	}
}

// receive reads the sources that have events. A source that fails is closed, which
// counts as an event.
func (w *Watcher) receive(fds []unix.PollFd) {
	var left []source
	for i, s := range w.sources {
		if fds[i].Revents == 0 {
			left = append(left, s)
			continue
		}
		event, err := s.event(w.scope)
		if err != nil {
			w.log.Debug("not watched any more", "source", s.name(), "error", err)
			_ = s.Close()
		} else {
			left = append(left, s)
		}
		if event || err != nil {
			w.wake(s.name())
		}
	}
	w.sources = left
}

func (w *Watcher) wake(by string) {
	w.mu.Lock()
	w.counts[by]++
	w.mu.Unlock()
	select {
	case w.events <- struct{}{}:
	default:
	}
}

// takeOrder takes an order, and tells whether there may be more.
func (w *Watcher) takeOrder() bool {
	w.waker.reset()
	devs, more := <-w.orders
	if !more {
		return false
	}
	w.follow(devs)
	w.taken <- struct{}{}
	return true
}

// follow makes these devices the ones that count. The files of arrays are opened
// anew: they are those of the devices that have these numbers now.
func (w *Watcher) follow(devs []remap.Dev) {
	w.sources = slices.DeleteFunc(w.sources, func(s source) bool {
		_, is := s.(*attribute)
		if is {
			_ = s.Close()
		}
		return is
	})
	w.scope = scope{devs: make(map[remap.Dev]bool)}
	for _, dev := range devs {
		dir := w.root.Block(dev)
		w.scope.devs[dev] = true
		w.scope.mapped = w.scope.mapped || exists(dir.Path("dm"))
		if !exists(dir.Path("md")) {
			continue
		}
		for _, name := range polledFiles {
			w.add("md", func() (source, error) { return openAttribute(dir.Path("md/" + name)) })
		}
	}
}
