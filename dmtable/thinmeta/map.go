package thinmeta

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"

	"github.com/dmcopy/dmcopy/remap"
)

// Map is where the virtual blocks of a thin device are.
type Map struct {
	runs list
	// blocks is the number of mapped blocks.
	blocks     uint64
	dataBlocks uint64
	blockSize  remap.Sector
}

// BlockSize is the size of virtual blocks and data blocks.
func (m *Map) BlockSize() remap.Sector { return m.blockSize }

// DataBlocks is the number of blocks of the data device.
func (m *Map) DataBlocks() uint64 { return m.dataBlocks }

// Mapped is the number of mapped virtual blocks.
func (m *Map) Mapped() uint64 { return m.blocks }

// Runs is the number of runs that [Map.Find] tells apart.
func (m *Map) Runs() int { return m.runs.n }

// Find tells in which data block a virtual block lies, if it is mapped, and
// whether other thin devices may share it. The same is true of run blocks
// from this one on: each lies behind the one before it.
func (m *Map) Find(vblock uint64) (dataBlock, run uint64, mapped, shared bool) {
	i := m.runs.after(vblock)
	if i > 0 {
		r := m.runs.at(i - 1)
		if skip := vblock - r.virtual(); skip < r.length() {
			return r.data() + skip, r.length() - skip, true, r.shared()
		}
	}
	if i < m.runs.n {
		return 0, m.runs.at(i).virtual() - vblock, false, false
	}
	return 0, math.MaxUint64 - vblock, false, false
}

// Details are what the pool knows of a thin device besides its map.
type Details struct {
	MappedBlocks uint64 `json:"mapped_blocks"`
	Transaction  uint64 `json:"transaction"`
	CreationTime uint32 `json:"creation_time"`
	// SnapshottedTime is when the last snapshot of the device was taken, or
	// when it was created as one. Blocks that were mapped before may be shared.
	SnapshottedTime uint32 `json:"snapshotted_time"`
}

const (
	// detailsSize is the size of struct disk_device_details.
	detailsSize = 24
	mappingSize = 8
	// maxDevice is the largest number of a thin device (dm-thin.c, MAX_DEV_ID).
	maxDevice = 1<<24 - 1
)

// Device reads the map of a thin device. Data blocks lie below
// super.DataBlocks. The result belongs to the moment of the superblock.
func Device(r io.ReaderAt, super *Super, id uint32) (*Map, *Details, error) {
	m, details, err := readDevice(r, super, id)
	if err != nil {
		return nil, nil, &Error{fmt.Sprintf("read thin device %d", id), err}
	}
	return m, details, nil
}

func readDevice(r io.ReaderAt, super *Super, id uint32) (*Map, *Details, error) {
	if id > maxDevice {
		return nil, nil, ErrNoDevice
	}
	if err := super.check(); err != nil {
		return nil, nil, err
	}
	w := &walker{cache: cache{r: r, blocks: super.MetadataBlocks}}
	details, err := w.details(super, id)
	if err != nil {
		return nil, nil, err
	}
	value, found, err := w.lookup(tree{super.MappingRoot, pointerSize}, uint64(id))
	if err != nil {
		return nil, nil, err
	}
	if !found {
		return nil, nil, fmt.Errorf("%w: device without a map", ErrFormat)
	}
	m, err := w.mappings(super, binary.LittleEndian.Uint64(value), details.SnapshottedTime)
	if err == nil && m.blocks != details.MappedBlocks {
		err = fmt.Errorf("%w: %d blocks are mapped, not %d", ErrFormat, m.blocks, details.MappedBlocks)
	}
	return m, details, err
}

func (w *walker) details(super *Super, id uint32) (*Details, error) {
	value, found, err := w.lookup(tree{super.DetailsRoot, detailsSize}, uint64(id))
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, ErrNoDevice
	}
	d := &Details{
		MappedBlocks:    binary.LittleEndian.Uint64(value),
		Transaction:     binary.LittleEndian.Uint64(value[8:]),
		CreationTime:    binary.LittleEndian.Uint32(value[16:]),
		SnapshottedTime: binary.LittleEndian.Uint32(value[20:]),
	}
	if d.CreationTime > super.Time || d.SnapshottedTime > super.Time {
		return nil, fmt.Errorf("%w: device was created at %d and snapshotted at %d, now is %d",
			ErrFormat, d.CreationTime, d.SnapshottedTime, super.Time)
	}
	return d, nil
}

// mappings reads the tree of one device. A mapping is a data block above the
// time when it was made. It is shared if a snapshot was taken since then
// (dm-thin-metadata.c, __snapshotted_since).
func (w *walker) mappings(super *Super, root uint64, snapshotted uint32) (*Map, error) {
	m := &Map{dataBlocks: super.DataBlocks, blockSize: super.DataBlockSize}
	last := uint64(remap.MaxSectors/super.DataBlockSize) - 1
	err := w.walk(tree{root, mappingSize}, last, func(key uint64, value []byte) error {
		mapping := binary.LittleEndian.Uint64(value)
		data, time := mapping>>timeBits, uint32(mapping&maxTime)
		if time > super.Time {
			return fmt.Errorf("%w: virtual block %d was mapped at %d, now is %d", ErrFormat, key, time, super.Time)
		}
		return m.add(key, data, 1, snapshotted > time)
	})
	return m, err
}

// add appends mappings behind all others.
func (m *Map) add(virtual, data, length uint64, shared bool) error {
	limit := uint64(remap.MaxSectors / m.blockSize)
	switch {
	case length < 1 || virtual >= limit || length > limit-virtual:
		return fmt.Errorf("%w: %d virtual blocks from %d", ErrFormat, length, virtual)
	case data >= m.dataBlocks || length > m.dataBlocks-data:
		return fmt.Errorf("%w: virtual block %d is in data block %d of %d", ErrFormat, virtual, data, m.dataBlocks)
	}
	m.blocks += length
	return m.runs.add(virtual, data, length, shared)
}
