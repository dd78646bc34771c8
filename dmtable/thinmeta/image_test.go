package thinmeta

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"slices"
	"testing"

	"github.com/dmcopy/dmcopy/test/golden"
)

// entry is an entry of a tree.
type entry struct {
	key   uint64
	value []byte
}

func u64(v uint64) []byte { return binary.LittleEndian.AppendUint64(nil, v) }

// mapping is an entry of the map of a device.
func mapping(virtual, data uint64, time uint32) entry {
	return entry{virtual, u64(data*(1<<24) + uint64(time))}
}

// image writes the metadata of a pool. Nothing of it is shared with the
// reader.
type image struct {
	bytes []byte
	// free are the blocks that are handed out next.
	free []int
	// fanout is how many entries nodes get.
	fanout int
	time   uint32
	// dataBlocks is the size of the data device.
	dataBlocks uint64
	roots      []entry
	details    []entry
}

// newImage has that many blocks, handed out from front to back.
func newImage(blocks, fanout int) *image {
	m := &image{bytes: make([]byte, blocks*4096), fanout: fanout, time: 5, dataBlocks: 1000}
	for i := 1; i < blocks; i++ {
		m.free = append(m.free, i)
	}
	return m
}

func (m *image) block(i int) []byte { return m.bytes[i*4096:][:4096] }

// seal writes number and checksum of a block. The kernel's CRC-32C goes
// without the final inversion.
func (m *image) seal(i int, salt uint32) {
	b := m.block(i)
	binary.LittleEndian.PutUint64(b[8:], uint64(i))
	sum := crc32.Update(0, crc32.MakeTable(crc32.Castagnoli), b[4:])
	binary.LittleEndian.PutUint32(b, sum^0xffffffff^salt)
}

// node writes a node to the next free block.
func (m *image) node(flags uint32, entries []entry, valueSize int) int {
	i := m.free[0]
	m.free = m.free[1:]
	room := 4064 / (8 + valueSize) / 3 * 3
	b := m.block(i)
	for at, word := range map[int]uint32{4: flags, 16: uint32(len(entries)), 20: uint32(room), 24: uint32(valueSize)} {
		binary.LittleEndian.PutUint32(b[at:], word)
	}
	for n, e := range entries {
		binary.LittleEndian.PutUint64(b[32+8*n:], e.key)
		copy(b[32+8*room+valueSize*n:], e.value)
	}
	m.seal(i, 121107)
	return i
}

// tree writes a tree, its leaves first, and tells its root.
func (m *image) tree(entries []entry, valueSize int) uint64 {
	flags := uint32(2)
	for {
		var parents []entry
		for chunk := range slices.Chunk(entries, m.fanout) {
			parents = append(parents, entry{chunk[0].key, u64(uint64(m.node(flags, chunk, valueSize)))})
		}
		switch len(parents) {
		case 0:
			return uint64(m.node(flags, nil, valueSize))
		case 1:
			return binary.LittleEndian.Uint64(parents[0].value)
		}
		entries, valueSize, flags = parents, 8, 1
	}
}

// device adds a thin device. Devices come in the order of their numbers.
func (m *image) device(id uint64, snapshotted uint32, mappings ...entry) {
	m.deviceAt(id, snapshotted, m.tree(mappings, 8), uint64(len(mappings)))
}

func (m *image) deviceAt(id uint64, snapshotted uint32, root, mapped uint64) {
	details := binary.LittleEndian.AppendUint64(u64(mapped), 77)
	details = binary.LittleEndian.AppendUint32(details, 1)
	m.details = append(m.details, entry{id, binary.LittleEndian.AppendUint32(details, snapshotted)})
	m.roots = append(m.roots, entry{id, u64(root)})
}

// fields are what a superblock has.
type fields struct {
	flags, version, time, blockSize, metaBlockSize uint32
	magic, transaction, held, mapping, details     uint64
	dataBlocks, metadataBlocks                     uint64
	features                                       [3]uint32
}

func (m *image) super(i int, f fields) {
	b := m.block(i)
	for at, word := range map[int]uint32{4: f.flags, 40: f.version, 44: f.time, 336: f.blockSize, 340: f.metaBlockSize,
		352: f.features[0], 356: f.features[1], 360: f.features[2]} {
		binary.LittleEndian.PutUint32(b[at:], word)
	}
	for at, long := range map[int]uint64{32: f.magic, 48: f.transaction, 56: f.held, 64: f.dataBlocks, 192: f.metadataBlocks,
		320: f.mapping, 328: f.details, 344: 1} {
		binary.LittleEndian.PutUint64(b[at:], long)
	}
	m.seal(i, 160774)
}

// finish writes the trees of all devices and the superblock, and tells what
// it says.
func (m *image) finish() fields {
	f := fields{
		version: 2, time: m.time, blockSize: 128, metaBlockSize: 8, magic: 27022010, transaction: 9,
		mapping: m.tree(m.roots, 8), details: m.tree(m.details, 24),
		dataBlocks: m.dataBlocks, metadataBlocks: uint64(len(m.bytes) / 4096),
	}
	m.super(0, f)
	return f
}

// hold makes what there is a metadata snapshot, and the live pool something
// that cannot be read.
func (m *image) hold(f fields) uint64 {
	i := m.free[0]
	m.free = m.free[1:]
	held := f
	held.dataBlocks, held.metadataBlocks = 0, 0
	m.super(i, held)
	f.held, f.mapping, f.details, f.time = uint64(i), uint64(len(m.bytes)/4096-1), uint64(len(m.bytes)/4096-1), f.time+1
	m.super(0, f)
	return uint64(i)
}

// strict is a device that insists on what the package says of its reads.
type strict struct {
	golden.TB
	bytes []byte
}

func (s strict) ReadAt(p []byte, off int64) (int, error) {
	s.Helper()
	if off%4096 != 0 || len(p)%4096 != 0 || len(p) == 0 || len(p) > 64<<10 || off+int64(len(p)) > int64(len(s.bytes)) {
		s.Fatalf("read of %d bytes at %d of %d", len(p), off, len(s.bytes))
	}
	return bytes.NewReader(s.bytes).ReadAt(p, off)
}

var errBroken = errors.New("medium error")

// broken is a device with one bad block.
type broken struct {
	io.ReaderAt
	block int64
}

func (b broken) ReadAt(p []byte, off int64) (int, error) {
	if bad := b.block * 4096; off <= bad && bad < off+int64(len(p)) {
		return 0, errBroken
	}
	return b.ReaderAt.ReadAt(p, off)
}

func (m *image) mustRead(t golden.TB, block uint64, id uint32) (*Map, *Details) {
	t.Helper()
	r := strict{t, m.bytes}
	super, err := ReadSuper(r, block)
	if err != nil {
		t.Fatal(err)
	}
	got, details, err := Device(r, super, id)
	if err != nil {
		t.Fatal(err)
	}
	return got, details
}

// read is what a stranger's metadata are read with.
func (m *image) read(id uint32) error {
	super, err := ReadSuper(bytes.NewReader(m.bytes), 0)
	if err == nil {
		_, _, err = Device(bytes.NewReader(m.bytes), super, id)
	}
	return err
}

// equal tells whether two maps answer alike.
func equal(a, b *Map) bool {
	return a.blocks == b.blocks && a.dataBlocks == b.dataBlocks && a.blockSize == b.blockSize && a.runs.n == b.runs.n &&
		slices.EqualFunc(a.runs.segments, b.runs.segments, slices.Equal)
}

// small is a pool with a device of few blocks: 0->100 1->101 2->7 5->8.
func small() *image {
	m := newImage(32, 200)
	m.device(1, 3, mapping(0, 100, 3), mapping(1, 101, 3), mapping(2, 7, 2), mapping(5, 8, 5))
	return m
}

func TestChecksumKnown(t *testing.T) {
	// A leaf without entries at block 7, its checksum computed bit by bit.
	m := newImage(8, 1)
	m.free = []int{7}
	m.node(2, nil, 8)
	sum := uint32(0xffffffff)
	for _, b := range m.block(7)[4:] {
		sum ^= uint32(b)
		for range 8 {
			sum = sum>>1 ^ -(sum&1)&0x82f63b78
		}
	}
	if got := binary.LittleEndian.Uint32(m.block(7)); got != sum^121107 {
		t.Errorf("%#x, want %#x", got, sum^121107)
	}
	if err := verify(m.block(7), 7, nodeSalt); err != nil {
		t.Error(err)
	}
}
