package layout_test

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/dmtable/dmtest"
	"github.com/dmcopy/dmcopy/internal/sysblock/sysblocktest"
)

// What kernels write to disks, written by hand.

// setDisk makes the node of a device a file with these bytes at its beginning.
func setDisk(t testing.TB, m *sysblocktest.Machine, name string, content []byte) {
	t.Helper()
	if err := os.WriteFile(m.FS().Device(name), content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// exceptions is the exception store of a copy-on-write device (dm-snap-persistent.c):
// chunks of 4096 bytes, of which chunk 1+257k holds 256 entries.
func exceptions(sectors int, entries ...[2]uint64) []byte {
	b := make([]byte, sectors*512)
	for i, word := range []uint32{0x70416e53, 1, 1, 8} {
		binary.LittleEndian.PutUint32(b[4*i:], word)
	}
	for i, e := range entries {
		at := (1+257*(i/256))*4096 + i%256*16
		binary.LittleEndian.PutUint64(b[at:], e[0])
		binary.LittleEndian.PutUint64(b[at+8:], e[1])
	}
	return b
}

// entries are n exceptions as the kernel allocates them, of every other chunk from
// a first one on.
func entries(n int, first uint64) (list [][2]uint64) {
	for i := range n {
		list = append(list, [2]uint64{first + 2*uint64(i), uint64(2 + i + i/256)})
	}
	return list
}

// pool is a thin pool with its metadata on a device (dm-thin-metadata.c), and
// takes messages (dm-thin.c, pool_message).
type pool struct {
	t        testing.TB
	m        *sysblocktest.Machine
	metadata string // name of the device
	b        []byte
	// held is the block of the metadata snapshot, 0 for none; next is the block
	// that the next one gets.
	held, next uint64
	// volumes map virtual blocks to data blocks.
	volumes map[uint64]map[uint64]uint64
	// shared volumes have been snapshotted since all of their blocks were
	// mapped.
	shared map[uint64]bool
	// refuse is what messages are answered with.
	refuse error
	// messages are those that arrived.
	messages    []string
	transaction int
	flags       uint32
}

const (
	poolBlocks   = 64  // of metadata
	poolData     = 200 // blocks of data
	poolBlockLen = 128 // sectors
)

func newPool(t testing.TB, m *sysblocktest.Machine, metadata string) *pool {
	p := &pool{
		t: t, m: m, metadata: metadata, b: make([]byte, poolBlocks*4096), next: 40, transaction: 9,
		volumes: map[uint64]map[uint64]uint64{}, shared: map[uint64]bool{},
	}
	return p
}

func (p *pool) seal(block uint64, salt uint32) {
	b := p.b[block*4096:][:4096]
	binary.LittleEndian.PutUint64(b[8:], block)
	sum := crc32.Update(0, crc32.MakeTable(crc32.Castagnoli), b[4:])
	binary.LittleEndian.PutUint32(b, sum^0xffffffff^salt)
}

// leaf writes a tree of one node.
func (p *pool) leaf(block uint64, valueSize int, values map[uint64][]byte) {
	b := p.b[block*4096:][:4096]
	clear(b)
	room := 4064 / (8 + valueSize) / 3 * 3
	for at, word := range map[int]int{4: 2, 16: len(values), 20: room, 24: valueSize} {
		binary.LittleEndian.PutUint32(b[at:], uint32(word))
	}
	for i, key := range slices.Sorted(maps.Keys(values)) {
		binary.LittleEndian.PutUint64(b[32+8*i:], key)
		copy(b[32+8*room+valueSize*i:], values[key])
	}
	p.seal(block, 121107)
}

func le(v uint64) []byte { return binary.LittleEndian.AppendUint64(nil, v) }

// commit writes the live metadata, or those of a metadata snapshot, with their
// trees from a block on.
func (p *pool) commit(super, trees uint64) {
	roots, details := map[uint64][]byte{}, map[uint64][]byte{}
	for i, id := range slices.Sorted(maps.Keys(p.volumes)) {
		values := map[uint64][]byte{}
		for virtual, data := range p.volumes[id] {
			values[virtual] = le(data<<24 | 3)
		}
		root := trees + 2 + uint64(i)
		p.leaf(root, 8, values)
		snapshotted := uint32(1)
		if p.shared[id] {
			snapshotted = 4
		}
		d := append(le(uint64(len(values))), le(7)...)
		d = binary.LittleEndian.AppendUint32(d, 1)
		roots[id], details[id] = le(root), binary.LittleEndian.AppendUint32(d, snapshotted)
	}
	p.leaf(trees, 8, roots)
	p.leaf(trees+1, 24, details)
	p.super(super, trees)
	setDisk(p.t, p.m, p.metadata, p.b)
}

func (p *pool) super(block, trees uint64) {
	b := p.b[block*4096:][:4096]
	clear(b)
	words := map[int]uint32{4: p.flags, 40: 2, 44: 5, 336: poolBlockLen, 340: 8}
	longs := map[int]uint64{32: 27022010, 48: uint64(p.transaction), 320: trees, 328: trees + 1}
	if block == 0 {
		longs[56], longs[64], longs[192] = p.held, poolData, poolBlocks
	}
	for at, word := range words {
		binary.LittleEndian.PutUint32(b[at:], word)
	}
	for at, long := range longs {
		binary.LittleEndian.PutUint64(b[at:], long)
	}
	p.seal(block, 160774)
}

func (p *pool) status() string {
	held := "-"
	if p.held != 0 {
		held = fmt.Sprint(p.held)
	}
	return fmt.Sprintf("%d 10/%d 5/%d %s rw discard_passdown queue_if_no_space - 1024 ", p.transaction, poolBlocks, poolData, held)
}

// message does what the kernel does.
func (p *pool) message(d *dmtest.Device, text string) error {
	p.messages = append(p.messages, text)
	if p.refuse != nil {
		return p.refuse
	}
	switch {
	case text == "reserve_metadata_snap" && p.held != 0:
		return unix.EBUSY
	case text == "reserve_metadata_snap":
		p.reserve()
	case text == "release_metadata_snap" && p.held == 0, !strings.HasSuffix(text, "_metadata_snap"):
		return unix.EINVAL
	default:
		p.held = 0
		p.super(0, 2)
	}
	setDisk(p.t, p.m, p.metadata, p.b)
	d.Status = []string{p.status()}
	return nil
}

// reserve takes a metadata snapshot, each time in another block.
func (p *pool) reserve() {
	p.held = p.next
	p.next++
	trees := 10 + p.held%2*10
	p.commit(p.held, trees)
	p.super(0, 2)
}

// said tells how often a message has arrived.
func (p *pool) said(text string) (n int) {
	for _, m := range p.messages {
		if m == text+"_metadata_snap" {
			n++
		}
	}
	return n
}
