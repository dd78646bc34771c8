package target

import (
	"io"
	"sync"
	"time"

	"github.com/dmcopy/dmcopy/copydomain/blocks"
)

// sectorBytes is what a disk writes at once, or not at all.
const sectorBytes = 512

// Cache is a medium in memory with a volatile write cache: what was written is on the medium only after SYNCHRONIZE
// CACHE (SBC-3, 4.15). It is safe for concurrent use.
type Cache struct {
	mu      sync.Mutex
	content blocks.Memory
	// lost is what a sector falls back to that was not made durable, by its number.
	lost map[int64][sectorBytes]byte
	rate int64 // bytes a second that are written; 0: no limit
}

// NewCache makes a medium of so many bytes, a multiple of 512.
func NewCache(size int64) *Cache {
	return &Cache{content: make(blocks.Memory, size), lost: make(map[int64][sectorBytes]byte)}
}

// ReadAt implements io.ReaderAt: it reads what was written last.
func (c *Cache) ReadAt(p []byte, off int64) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.content.ReadAt(p, off)
}

// WriteAt implements io.WriterAt, for whole sectors.
func (c *Cache) WriteAt(p []byte, off int64) (int, error) {
	if off%sectorBytes != 0 || len(p)%sectorBytes != 0 {
		return 0, io.ErrShortWrite
	}
	c.mu.Lock()
	rate := c.rate
	c.mu.Unlock()
	if rate > 0 {
		time.Sleep(time.Duration(int64(len(p)) * int64(time.Second) / rate))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for at := off; at < off+int64(len(p)) && at < int64(len(c.content)); at += sectorBytes {
		if _, cached := c.lost[at/sectorBytes]; !cached {
			c.lost[at/sectorBytes] = [sectorBytes]byte(c.content[at:])
		}
	}
	return c.content.WriteAt(p, off)
}

// Throttle limits writes to so many bytes a second; 0: no limit.
func (c *Cache) Throttle(rate int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.rate = rate
}

// Sync makes everything durable.
func (c *Cache) Sync() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.lost)
	return nil
}

// LosePower loses the cached sectors but those that the disk happens to have written, and returns how many it lost.
func (c *Cache) LosePower(written func(sector int64) bool) (lost int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for sector, was := range c.lost {
		if written(sector) {
			continue
		}
		copy(c.content[sector*sectorBytes:], was[:])
		lost++
	}
	clear(c.lost)
	return lost
}
