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
	// news takes what has come and tells whether it may concern the scope. A
	// source that fails has nothing more to tell.
	news(s scope) (bool, error)
	Close() error
}

// scope is what a Watcher is for.
type scope struct {
	devs   map[remap.Dev]bool
	mapped bool // some of them are mapped devices
}

// Watcher listens. What cannot be opened is left out: then less is heard.
type Watcher struct {
	root  sysfs.Root
	log   *slog.Logger
	poke  *poker
	woken chan struct{}

	orders chan []remap.Dev // taken when poked; its end is the end of run
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
	poke, err := newPoker()
	if err != nil {
		return nil, fmt.Errorf("watch: %w", err)
	}
	w := &Watcher{
		root: root, log: log, poke: poke, woken: make(chan struct{}, 1),
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

// Concern says which devices count from now on, instead of those before. One call
// at a time.
func (w *Watcher) Concern(devs []remap.Dev) {
	select {
	case w.orders <- slices.Clone(devs):
	case <-w.ended:
		return
	}
	w.poke.poke()
	select {
	case <-w.taken:
	case <-w.ended:
	}
}

// Woken has a token once something has happened that may concern the devices. What
// happens until the token is taken adds none.
func (w *Watcher) Woken() <-chan struct{} { return w.woken }

// Counts tells how often each source has woken.
func (w *Watcher) Counts() map[string]int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return maps.Clone(w.counts)
}

// Close ends it. No other call is under way or comes later.
func (w *Watcher) Close() error {
	close(w.orders)
	w.poke.poke()
	<-w.ended
	for _, s := range w.sources {
		_ = s.Close() // nothing was written to it
	}
	w.log.Debug("watch ended", "woken", w.Counts())
	return w.poke.Close()
}

// run waits for the sources until there are no more orders.
func (w *Watcher) run() {
	defer close(w.ended)
	for {
		fds := []unix.PollFd{w.poke.poll()}
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
		w.hear(fds[1:])
		if fds[0].Revents != 0 && !w.obey() {
			return
		}
	}
}

// hear asks the sources that have something to tell. One that fails is done with,
// which is news as well.
func (w *Watcher) hear(fds []unix.PollFd) {
	var left []source
	for i, s := range w.sources {
		if fds[i].Revents == 0 {
			left = append(left, s)
			continue
		}
		news, err := s.news(w.scope)
		if err != nil {
			w.log.Debug("not watched any more", "source", s.name(), "error", err)
			_ = s.Close()
		} else {
			left = append(left, s)
		}
		if news || err != nil {
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
	case w.woken <- struct{}{}:
	default:
	}
}

// obey takes an order, and tells whether there may be more.
func (w *Watcher) obey() bool {
	w.poke.take()
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
		for _, name := range telling {
			w.add("md", func() (source, error) { return openAttribute(dir.Path("md/" + name)) })
		}
	}
}
