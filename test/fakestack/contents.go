package fakestack

import "sync"

// pool keeps the contents of disks of machines that are gone, for tests that make very
// many.
type pool struct{ free sync.Pool }

var contents pool

// get returns n bytes, whatever is in them.
func (p *pool) get(n int64) []byte {
	if b, ok := p.free.Get().(*[]byte); ok && int64(len(*b)) == n {
		return *b
	}
	return make([]byte, n)
}

func (p *pool) put(b []byte) { p.free.Put(&b) }

// Scrap gives up what the disks hold. Nobody uses the machine any more.
func (m *Machine) Scrap() {
	for _, image := range m.expect {
		contents.put(image)
	}
	scrapped := make(map[*leaf]bool)
	for _, d := range m.order {
		if d.leaf != nil && !scrapped[d.leaf] {
			scrapped[d.leaf] = true
			contents.put(d.leaf.data)
			d.leaf.data = nil
		}
	}
}
