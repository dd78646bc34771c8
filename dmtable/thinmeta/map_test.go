package thinmeta

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"math"
	"testing"
)

// found is one answer of Find.
type found struct {
	at, run        uint64
	mapped, shared bool
}

func find(m *Map, block uint64) found {
	at, run, mapped, shared := m.Find(block)
	return found{at, run, mapped, shared}
}

// TestGolden: blocks 2 and older were mapped before the snapshot of time 3.
func TestGolden(t *testing.T) {
	image := small()
	f := image.finish()
	held := image.hold(f)
	m, details := image.mustRead(t, held, 1)
	for block, want := range map[uint64]found{
		0:              {100, 2, true, false},
		1:              {101, 1, true, false},
		2:              {7, 1, true, true},
		3:              {0, 2, false, false},
		4:              {0, 1, false, false},
		5:              {8, 1, true, false},
		6:              {0, math.MaxUint64 - 6, false, false},
		math.MaxUint64: {0, 0, false, false},
	} {
		if got := find(m, block); got != want {
			t.Errorf("block %d: %+v, want %+v", block, got, want)
		}
	}
	if want := (Details{4, 77, 1, 3}); *details != want || m.Mapped() != 4 || m.Runs() != 3 || m.BlockSize() != 128 || m.DataBlocks() != 1000 {
		t.Errorf("%+v; %d blocks, %d runs", details, m.Mapped(), m.Runs())
	}
	if binary.LittleEndian.Uint64(mapping(0, 100, 3).value) != 0x0000000064000003 {
		t.Error("a mapping is a block above 24 bits of time")
	}
}

func TestSuper(t *testing.T) {
	image := small()
	f := image.finish()
	held := image.hold(f)
	live, err := ReadSuper(strict{t, image.bytes}, 0)
	want := Super{Version: 2, Time: 6, Transaction: 9, HeldRoot: held, MappingRoot: 31, DetailsRoot: 31, DataBlockSize: 128, MetadataBlocks: 32, DataBlocks: 1000}
	if err != nil || *live != want {
		t.Errorf("live: %+v, %v", live, err)
	}
	snap, err := ReadSuper(strict{t, image.bytes}, held)
	want = Super{Block: held, Version: 2, Time: 5, Transaction: 9, MappingRoot: f.mapping, DetailsRoot: f.details, DataBlockSize: 128, MetadataBlocks: 32, DataBlocks: 1000}
	if err != nil || *snap != want {
		t.Errorf("held: %+v, %v", snap, err)
	}
	for _, block := range []uint64{held + 1, 1 << 60, math.MaxUint64} {
		if _, err := ReadSuper(strict{t, image.bytes}, block); !errors.Is(err, ErrNotHeld) {
			t.Errorf("block %d: %v", block, err)
		}
	}
	f.flags = 1
	image.super(0, f)
	if s, err := ReadSuper(strict{t, image.bytes}, 0); err != nil || !s.NeedsCheck {
		t.Errorf("%+v, %v", s, err)
	}
}

func TestSuperRefused(t *testing.T) {
	for name, breaks := range map[string]func(*fields){
		"magic":               func(f *fields) { f.magic++ },
		"version 0":           func(f *fields) { f.version = 0 },
		"version 3":           func(f *fields) { f.version = 3 },
		"flags":               func(f *fields) { f.flags = 2 },
		"compatible":          func(f *fields) { f.features[0] = 1 },
		"compatible to read":  func(f *fields) { f.features[1] = 1 },
		"incompatible":        func(f *fields) { f.features[2] = 1 },
		"metadata block size": func(f *fields) { f.metaBlockSize = 16 },
		"no blocks":           func(f *fields) { f.blockSize = 0 },
		"small blocks":        func(f *fields) { f.blockSize = 64 },
		"odd blocks":          func(f *fields) { f.blockSize = 192 },
		"huge blocks":         func(f *fields) { f.blockSize = 2097152 + 128 },
		"time":                func(f *fields) { f.time = 1 << 24 },
		"no metadata":         func(f *fields) { f.metadataBlocks = 0 },
		"much metadata":       func(f *fields) { f.metadataBlocks = 1 << 40 },
		"much data":           func(f *fields) { f.dataBlocks = 1<<40 + 1 },
		"too much data":       func(f *fields) { f.blockSize = 2097152; f.dataBlocks = 1 << 34 },
		"mapping root":        func(f *fields) { f.mapping = 32 },
		"details root":        func(f *fields) { f.details = math.MaxUint64 },
	} {
		image := small()
		f := image.finish()
		breaks(&f)
		image.super(0, f)
		if err := image.read(1); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: %v", name, err)
		}
		if wrapped := new(Error); !errors.As(image.read(1), &wrapped) {
			t.Errorf("%s: not wrapped", name)
		}
	}
}

func TestHeldRefused(t *testing.T) {
	for name, breaks := range map[string]func(*fields){
		"other blocks": func(f *fields) { f.blockSize = 256 },
		"held itself":  func(f *fields) { f.held = 3 },
		"later":        func(f *fields) { f.time = 7 },
		"no root":      func(f *fields) { f.mapping = 1 << 30 },
	} {
		image := small()
		f := image.finish()
		held := image.hold(f)
		breaks(&f)
		image.super(int(held), f)
		if _, err := ReadSuper(strict{t, image.bytes}, held); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: %v", name, err)
		}
	}
	image := small()
	f := image.finish()
	f.held = 1 << 60
	image.super(0, f)
	if _, err := ReadSuper(strict{t, image.bytes}, f.held); !errors.Is(err, ErrFormat) {
		t.Errorf("beyond the device: %v", err)
	}
}

// leaf is the number of the only node of the first device of small.
const leaf = 1

func put32(at int, v uint32) func(*image) {
	return func(m *image) { binary.LittleEndian.PutUint32(m.block(leaf)[at:], v); m.seal(leaf, nodeSalt) }
}

func put64(at int, v uint64) func(*image) {
	return func(m *image) { binary.LittleEndian.PutUint64(m.block(leaf)[at:], v); m.seal(leaf, nodeSalt) }
}

func TestNodeRefused(t *testing.T) {
	const value = 32 + 252*8
	for name, v := range map[string]struct {
		breaks func(*image)
		want   error
	}{
		"nothing":             {func(*image) {}, nil},
		"flipped bit":         {func(m *image) { m.block(leaf)[4095] ^= 1 }, ErrChecksum},
		"other block":         {func(m *image) { copy(m.block(leaf), m.block(leaf+1)) }, ErrChecksum},
		"superblock":          {func(m *image) { m.seal(leaf, superSalt) }, ErrChecksum},
		"neither flag":        {put32(4, 0), ErrFormat},
		"both flags":          {put32(4, 3), ErrFormat},
		"internal":            {put32(4, 1), ErrFormat},
		"entries":             {put32(16, 253), ErrFormat},
		"room":                {put32(20, 255), ErrFormat},
		"room overflows":      {put32(20, 1<<31), ErrFormat},
		"value size":          {put32(24, 16), ErrFormat},
		"no value size":       {put32(24, 0), ErrFormat},
		"huge value size":     {put32(24, math.MaxUint32), ErrFormat},
		"less than it says":   {put32(16, 3), ErrFormat},
		"keys not in order":   {put64(32+8, 3), ErrFormat},
		"keys equal":          {put64(32+8, 0), ErrFormat},
		"block out of range":  {put64(32+8*3, 1<<47), ErrFormat},
		"data out of range":   {put64(value, 1000<<24), ErrFormat},
		"data far away":       {put64(value, math.MaxUint64), ErrFormat},
		"mapped in future":    {put64(value, 6), ErrFormat},
		"last key, last data": {func(m *image) { put64(32+8*3, 1<<47-1)(m); put64(value+8*3, 999<<24)(m) }, nil},
	} {
		image := small()
		image.finish()
		v.breaks(image)
		if err := image.read(1); !errors.Is(err, v.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestDevices(t *testing.T) {
	image := newImage(64, 2)
	image.device(0, 0)
	image.device(7, 0, mapping(1, 2, 0))
	image.deviceAt(9, 0, uint64(image.free[40]), 1) // nothing is there
	image.deviceAt(12, 0, 0, 1)                     // the superblock
	image.deviceAt(13, 0, 1<<40, 1)
	image.deviceAt(1<<24-1, 6, 1, 0) // snapshotted in the future
	image.finish()
	if m, _ := image.mustRead(t, 0, 0); m.Mapped() != 0 || find(m, 0) != (found{0, math.MaxUint64, false, false}) {
		t.Errorf("empty device: %+v", find(m, 0))
	}
	if m, _ := image.mustRead(t, 0, 7); m.Mapped() != 1 {
		t.Errorf("%d blocks", m.Mapped())
	}
	for id, want := range map[uint32]error{
		1: ErrNoDevice, 8: ErrNoDevice, 1<<24 - 2: ErrNoDevice, 1 << 24: ErrNoDevice, math.MaxUint32: ErrNoDevice,
		9: ErrChecksum, 12: ErrChecksum, 13: ErrFormat, 1<<24 - 1: ErrFormat,
	} {
		if err := image.read(id); !errors.Is(err, want) {
			t.Errorf("device %d: %v", id, err)
		}
	}
}

// TestDeviceWithoutMap: what has details has a map.
func TestDeviceWithoutMap(t *testing.T) {
	image := small()
	image.device(2, 0)
	image.roots = image.roots[:1]
	image.finish()
	if err := image.read(2); !errors.Is(err, ErrFormat) {
		t.Error(err)
	}
}

// TestMappedBlocks: a map that is not as large as the pool believes.
func TestMappedBlocks(t *testing.T) {
	image := newImage(16, 10)
	image.deviceAt(1, 0, image.tree([]entry{mapping(0, 0, 0)}, 8), 2)
	image.finish()
	if err := image.read(1); !errors.Is(err, ErrFormat) {
		t.Error(err)
	}
}

// TestCircles: trees that meet themselves end.
func TestCircles(t *testing.T) {
	for name, v := range map[string]struct {
		build func(m *image) uint64
		want  error
	}{
		"own child": {func(m *image) uint64 {
			i := m.free[0]
			return uint64(m.node(1, []entry{{0, u64(uint64(i))}}, 8))
		}, ErrTooDeep},
		"tower": {func(m *image) uint64 {
			root := m.tree([]entry{mapping(0, 0, 0)}, 8)
			for range 16 {
				root = uint64(m.node(1, []entry{{0, u64(root)}}, 8))
			}
			return root
		}, ErrTooDeep},
		"same child twice": {func(m *image) uint64 {
			child := m.tree([]entry{mapping(0, 0, 0)}, 8)
			return uint64(m.node(1, []entry{{0, u64(child)}, {9, u64(child)}}, 8))
		}, ErrFormat},
		"empty leaves": {func(m *image) uint64 {
			child := m.tree(nil, 8)
			return uint64(m.node(1, []entry{{0, u64(child)}, {9, u64(child)}}, 8))
		}, ErrFormat},
		"empty node": {func(m *image) uint64 { return uint64(m.node(1, nil, 8)) }, ErrFormat},
		"key of another": {func(m *image) uint64 {
			a, b := m.tree([]entry{mapping(0, 0, 0), mapping(9, 1, 0)}, 8), m.tree([]entry{mapping(9, 2, 0)}, 8)
			return uint64(m.node(1, []entry{{0, u64(a)}, {9, u64(b)}}, 8))
		}, ErrFormat},
	} {
		image := newImage(64, 10)
		image.deviceAt(1, 0, v.build(image), 1)
		image.finish()
		if err := image.read(1); !errors.Is(err, v.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestCycle: no tree has more nodes than there are blocks.
func TestCycle(t *testing.T) {
	image := newImage(8, 10)
	image.deviceAt(1, 0, uint64(image.free[0]), 1)
	image.node(1, []entry{{0, u64(uint64(image.free[0]))}}, 8)
	image.finish()
	if err := image.read(1); !errors.Is(err, ErrCycle) {
		t.Error(err)
	}
}

// TestBadBlocks: one bad block matters to those who need it.
func TestBadBlocks(t *testing.T) {
	image := small()
	image.finish()
	for block := range int64(32) {
		r := broken{bytes.NewReader(image.bytes), block}
		super, err := ReadSuper(r, 0)
		if err == nil {
			_, _, err = Device(r, super, 1)
		}
		if needed := block <= 3; needed != errors.Is(err, errBroken) || !needed && err != nil {
			t.Errorf("block %d: %v", block, err)
		}
	}
	whole := image.bytes
	for size := range 4 {
		image.bytes = whole[:size*4096]
		if err := image.read(1); !errors.Is(err, ErrTruncated) {
			t.Errorf("%d blocks: %v", size, err)
		}
	}
}

func TestJSON(t *testing.T) {
	image := small()
	image.finish()
	m, _ := image.mustRead(t, 0, 1)
	text, err := json.Marshal(m)
	const want = `{"block_size":128,"data_blocks":1000,"runs":[[0,100,2,0],[2,7,1,1],[5,8,1,0]]}`
	if err != nil || string(text) != want {
		t.Errorf("%s, %v", text, err)
	}
	var loaded Map
	if err := json.Unmarshal(text, &loaded); err != nil || !equal(m, &loaded) {
		t.Errorf("%+v, %v", loaded, err)
	}
}

func TestJSONRefused(t *testing.T) {
	for _, text := range []string{
		`null`, `{}`, `{"block_size":128,"data_blocks":1000}`,
		`{"block_size":100,"data_blocks":1000,"runs":[]}`,
		`{"block_size":128,"data_blocks":-1,"runs":[]}`,
		`{"block_size":128,"data_blocks":2199023255552,"runs":[]}`,
		`{"block_size":128,"data_blocks":1000,"runs":[],"x":0}`,
		`{"block_size":128,"data_blocks":1000,"runs":[[0,0,1]]}`,
		`{"block_size":128,"data_blocks":1000,"runs":[[0,0,1,2]]}`,
		`{"block_size":128,"data_blocks":1000,"runs":[[0,0,0,0]]}`,
		`{"block_size":128,"data_blocks":1000,"runs":[[0,1000,1,0]]}`,
		`{"block_size":128,"data_blocks":1000,"runs":[[0,999,2,0]]}`,
		`{"block_size":128,"data_blocks":1000,"runs":[[0,1,18446744073709551615,0]]}`,
		`{"block_size":128,"data_blocks":1000,"runs":[[140737488355328,0,1,0]]}`,
		`{"block_size":128,"data_blocks":1000,"runs":[[140737488355327,0,2,0]]}`,
		`{"block_size":128,"data_blocks":1000,"runs":[[5,0,1,0],[5,1,1,0]]}`,
		`{"block_size":128,"data_blocks":1000,"runs":[[5,0,1,0],[4,1,1,0]]}`,
		`{"block_size":128,"data_blocks":1000,"runs":[[5,0,2,0],[6,9,1,0]]}`,
	} {
		m := new(Map)
		if err := json.Unmarshal([]byte(text), m); err == nil {
			t.Errorf("%s is accepted", text)
		}
		if m.Mapped() != 0 {
			t.Errorf("%s changes the map", text)
		}
	}
}

// TestRun: what is packed comes out again, at both ends.
func TestRun(t *testing.T) {
	for _, virtual := range []uint64{0, 1, 1<<17 - 1, 1<<47 - 1} {
		for _, data := range []uint64{0, 1, 1<<23 - 1, 1<<40 - 1} {
			for _, length := range []uint64{1, 2, 1 << 17, 1<<17 + 1, 1<<40 - 1, 1 << 40} {
				for _, shared := range []bool{false, true} {
					r := newRun(virtual, data, length, shared)
					if r.virtual() != virtual || r.data() != data || r.length() != length || r.shared() != shared {
						t.Errorf("%d, %d, %d, %v: %#x", virtual, data, length, shared, r)
					}
				}
			}
		}
	}
}
