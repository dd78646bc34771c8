package blockio

import (
	"context"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// Pool is a fixed number of buffers of one size for direct I/O. They start on a
// page, the garbage collector neither moves nor scans them, and they are mapped
// once: a pool never uses more memory than it was made with.
type Pool struct {
	memory       []byte
	count        int
	free         chan []byte
	closing      chan struct{}
	drain, unmap sync.Once
	err          error // of Close
}

// NewPool maps count buffers of size bytes each, rounded up to pages.
func NewPool(count, size int) (*Pool, error) {
	page := os.Getpagesize()
	if count <= 0 || size <= 0 || size > int(^uint(0)>>1)/count-page {
		return nil, fmt.Errorf("buffer pool of %d times %d bytes: %w", count, size, unix.EINVAL)
	}
	size = (size + page - 1) &^ (page - 1)
	memory, err := unix.Mmap(-1, 0, count*size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return nil, fmt.Errorf("buffer pool of %d times %d bytes: %w", count, size, err)
	}
	p := &Pool{memory: memory, count: count, free: make(chan []byte, count), closing: make(chan struct{})}
	for i := range count {
		p.free <- memory[i*size : (i+1)*size : (i+1)*size]
	}
	return p, nil
}

// Len is the memory of the pool in bytes.
func (p *Pool) Len() int { return len(p.memory) }

// Memory is that of all buffers, one behind the other.
func (p *Pool) Memory() []byte { return p.memory }

// Size is that of a buffer in bytes.
func (p *Pool) Size() int { return len(p.memory) / p.count }

// TryGet returns a buffer if there is one, and the pool is not closed.
func (p *Pool) TryGet() ([]byte, bool) {
	select {
	case <-p.closing:
		return nil, false
	default:
	}
	select {
	case b := <-p.free:
		return b, true
	default:
		return nil, false
	}
}

// Get waits for a buffer. Its content is arbitrary. The error is os.ErrClosed or
// the cause of the context.
func (p *Pool) Get(ctx context.Context) ([]byte, error) {
	select {
	case b := <-p.free:
		return b, nil
	case <-p.closing:
		return nil, os.ErrClosed
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// Put gives back a buffer as it came from Get; no I/O may use it any more.
func (p *Pool) Put(b []byte) { p.free <- b }

// Drain waits for all buffers to come back; there will be no more.
func (p *Pool) Drain() {
	p.drain.Do(func() {
		close(p.closing)
		for range p.count {
			<-p.free
		}
	})
}

// Close waits for all buffers to come back, and unmaps them.
func (p *Pool) Close() error {
	p.Drain()
	p.unmap.Do(func() { p.err = unix.Munmap(p.memory) })
	return p.err
}
