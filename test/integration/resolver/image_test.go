package resolver

import (
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/remap"
)

// image is what a run of a device holds.
type image struct {
	start remap.Sector
	bytes []byte
	bad   map[remap.Sector]bool // sectors that cannot be read
}

func (i *image) sector(s remap.Sector) (content []byte, ok bool) {
	at := (s - i.start).Bytes()
	return i.bytes[at : at+remap.SectorSize], !i.bad[s]
}

// image reads a run of a device past the page cache. Where a read fails, it is
// tried again block by block.
func (b *bench) image(path string, start, n remap.Sector) *image {
	b.Helper()
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_DIRECT, 0)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	i := &image{start: start, bytes: pages(n.Bytes()), bad: make(map[remap.Sector]bool)}
	const chunk, block = 1 << 20, 4096
	for at := int64(0); at < n.Bytes(); at += chunk {
		piece := i.bytes[at:min(at+chunk, n.Bytes())]
		if readAll(f, piece, start.Bytes()+at) == nil {
			continue
		}
		for in := int64(0); in < int64(len(piece)); in += block {
			i.readBlock(f, at+in, min(block, int64(len(piece))-in))
		}
	}
	return i
}

// readBlock reads a block, or what can be read of it.
func (i *image) readBlock(f *os.File, at, n int64) {
	piece := i.bytes[at : at+n]
	if readAll(f, piece, i.start.Bytes()+at) == nil {
		return
	}
	for in := int64(0); in < n; in += remap.SectorSize {
		if readAll(f, piece[in:in+remap.SectorSize], i.start.Bytes()+at+in) != nil {
			i.bad[i.start+remap.Sector((at+in)/remap.SectorSize)] = true
		}
	}
}

func readAll(f *os.File, buffer []byte, at int64) error {
	n, err := f.ReadAt(buffer, at)
	if n == len(buffer) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// leaves reads disks as far as they are asked for.
type leaves struct {
	*bench
	pages map[page]*image
}

// page is a piece of a disk, pageSize long.
type page struct {
	disk   *disk
	number remap.Sector
}

const pageSize remap.Sector = 1024

// sector is what a disk holds at a place.
func (l *leaves) sector(leg remap.Leg) []byte {
	l.Helper()
	d := l.pool.byDev[leg.Dev]
	if d == nil {
		l.Fatalf("%s is no disk of the pool", leg.Dev)
	}
	p := page{d, leg.Start / pageSize}
	i := l.pages[p]
	if i == nil {
		if l.pages == nil {
			l.pages = make(map[page]*image)
		}
		start := p.number * pageSize
		i = l.image(d.path, start, min(pageSize, d.size-start))
		l.pages[p] = i
	}
	content, ok := i.sector(leg.Start)
	if !ok {
		l.Fatalf("sector %d of %s cannot be read", leg.Start, d.path)
	}
	return content
}
