package emulation

import (
	"sync"

	"github.com/dmcopy/dmcopy/internal/uring"
)

// New makes the Engine that is best here, and maps its memory: a [Ring], or [Threads] for devices
// whose transfers cannot be left to the kernel, and where io_uring is not to be had. Options.Log is
// told why. The error is ErrOptions or the errno of mmap.
func New(options Options) (Engine, error) {
	return newAny(options, func(entries int) (requests, error) { return uring.New(entries) })
}

func newAny(options Options, open func(entries int) (requests, error)) (*anyEngine, error) {
	h, err := newHost(options)
	if err != nil {
		return nil, err
	}
	e := &anyEngine{host: h, open: open}
	e.crew = &either{engine: e}
	return e, nil
}

// anyEngine is what New makes.
type anyEngine struct {
	host
	open func(entries int) (requests, error)
}

// either is a crew for each job of its own. A ring is made when there is something for it.
type either struct {
	engine *anyEngine
	once   sync.Once
	loop   *loop // nil if it is not to be had
}

func (e *either) run(j *job, do task) {
	if j.async() {
		if e.once.Do(e.open); e.loop != nil {
			ring{e.loop}.run(j, do)
			return
		}
	}
	threads{}.run(j, do)
}

func (e *either) open() {
	var err error
	if e.loop, err = newLoop(&e.engine.host, e.engine.open); err != nil {
		e.engine.options.Log.Debug("copies by threads, as there is no io_uring", "error", err)
	}
}

func (e *either) close() error {
	e.once.Do(func() {})
	if e.loop == nil {
		return nil
	}
	return e.loop.close()
}

// async tells whether transfers of both ends can be left to the kernel.
func (j *job) async() bool { return j.src.start != nil && j.dst.start != nil }
