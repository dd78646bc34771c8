package fakestack

import "bytes"

// A medium is where the sectors of disks are read and written: the disks
// themselves, or images of them.
type medium interface {
	read(at place, p []byte) error
	write(at place, p []byte) error
}

// disks are the disks with their volatile caches.
type disks struct{}

func (disks) read(at place, p []byte) error  { return at.leaf.read(at.sector, p) }
func (disks) write(at place, p []byte) error { return at.leaf.write(at.sector, p) }

// durably writes past the caches.
type durably struct{ disks }

func (durably) write(at place, p []byte) error {
	at.leaf.writeDurable(at.sector, p)
	return nil
}

// image is a copy of all disks.
type image map[*leaf][]byte

func (i image) read(at place, p []byte) error {
	copy(p, at.in(i[at.leaf]))
	return nil
}

func (i image) write(at place, p []byte) error {
	copy(at.in(i[at.leaf]), p)
	return nil
}

// revised is an image of which some sectors are other ones.
type revised struct {
	image
	other map[place][]byte
}

func (r revised) read(at place, p []byte) error {
	if data := r.other[at]; data != nil {
		copy(p, data)
		return nil
	}
	return r.image.read(at, p)
}

func (r revised) write(at place, p []byte) error {
	r.other[at] = bytes.Clone(p)
	return nil
}

// foretold is what somebody else writes: it goes to the disks, and to the image
// of what they should hold, if there is one.
type foretold struct{ image }

func (foretold) read(at place, p []byte) error { return at.leaf.read(at.sector, p) }

func (f foretold) write(at place, p []byte) error {
	at.leaf.writeDurable(at.sector, p)
	if f.image == nil {
		return nil
	}
	return f.image.write(at, p)
}
