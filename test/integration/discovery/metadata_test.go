package discovery

import (
	"context"
	"encoding/binary"
	"encoding/xml"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"github.com/dmcopy/dmcopy/dmtable/exstore"
	"github.com/dmcopy/dmcopy/dmtable/integritysb"
	"github.com/dmcopy/dmcopy/dmtable/thinmeta"
	"github.com/dmcopy/dmcopy/internal/blockio"
	"github.com/dmcopy/dmcopy/remap"
	"github.com/dmcopy/dmcopy/test/vm"
)

// direct reads a device with O_DIRECT, which demands the alignment that the
// readers of metadata promise: diskC has blocks of 4096 bytes.
type direct struct {
	file *blockio.File
	pool *blockio.Pool
}

func openDirect(t testing.TB, path string) direct {
	t.Helper()
	file, err := blockio.Open(path, 0)
	if err != nil {
		t.Fatal(err)
	}
	pool, err := blockio.NewPool(1, 64<<10)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close(); pool.Close() })
	if !file.Direct() {
		t.Fatalf("%s is not open for direct I/O", path)
	}
	return direct{file, pool}
}

func (d direct) ReadAt(p []byte, off int64) (int, error) {
	buf, err := d.pool.Get(context.Background())
	if err != nil {
		return 0, err
	}
	defer d.pool.Put(buf)
	n, err := d.file.Pread(buf[:len(p)], off)
	return copy(p, buf[:n]), err
}

// Exceptions of a live snapshot, read again and again while it grows: every
// chunk is where the store says.
func TestExceptionStore(t *testing.T) {
	for name, v := range map[string]struct {
		disk  vm.Disk
		chunk int64
		// size is that of the copy-on-write device, in sectors.
		size int64
	}{
		"chunks of 4096 bytes": {diskC, 8, 32768},
		"chunks of a sector":   {diskB, 1, 20001},
	} {
		t.Run(name, func(t *testing.T) {
			const originSize = 16384
			stamp(t, diskA)
			vm.Run(t, "dd", "if=/dev/zero", "of="+vm.Device(t, v.disk), "bs=1M", "count=16", "oflag=direct")
			real := create(t, "x-real", fmt.Sprintf("0 %d linear %s 2048", originSize, number(t, diskA)))
			cow := create(t, "x-cow", fmt.Sprintf("0 %d linear %s 0", v.size, number(t, v.disk)))
			create(t, "x-snap", fmt.Sprintf("0 %d snapshot %s %s P %d", originSize, real, cow, v.chunk))
			create(t, "x-origin", fmt.Sprintf("0 %d snapshot-origin %s", originSize, real))

			r := openDirect(t, "/dev/mapper/x-cow")
			s, err := exstore.Read(r, remap.Sector(v.size))
			if err != nil || s.Len() != 0 || s.ChunkSize() != remap.Sector(v.chunk) {
				t.Fatalf("an empty store: %+v, %v", s, err)
			}
			random := rand.New(rand.NewPCG(1, 2))
			for round := range 3 {
				for range 90 {
					length := v.chunk * (1 + random.Int64N(4))
					at := random.Int64N((originSize-length)/v.chunk) * v.chunk
					vm.Stamp(t, "/dev/mapper/x-origin", uint64(round), at*512, length*512)
				}
				if s, err = s.Reread(r); err != nil {
					t.Fatal(err)
				}
				fresh, err := exstore.Read(r, remap.Sector(v.size))
				if err != nil || fresh.Len() != s.Len() {
					t.Fatalf("%d exceptions, a fresh read finds %+v, %v", s.Len(), fresh, err)
				}
				checkExceptions(t, s, originSize)
			}
			if perArea := uint64(v.chunk) * 32; s.Len() < 2*perArea {
				t.Errorf("%d exceptions, %d in an area: too few to tell", s.Len(), perArea)
			}
			t.Logf("%d exceptions", s.Len())
		})
	}
}

// checkExceptions compares every chunk of the snapshot with the place where
// the store has it, and counts exceptions.
func checkExceptions(t *testing.T, s *exstore.Store, size int64) {
	t.Helper()
	chunk, excepted := s.ChunkSize().Bytes(), uint64(0)
	for c, chunks := uint64(0), uint64(size*512/chunk); c < chunks; {
		at, run, is := s.Find(c)
		run = min(run, chunks-c)
		device := "/dev/mapper/x-cow"
		if is {
			excepted += run
		} else {
			device, at = "/dev/mapper/x-real", c
		}
		if err := vm.Compare("/dev/mapper/x-snap", int64(c)*chunk, device, int64(at)*chunk, int64(run)*chunk); err != nil {
			t.Fatalf("%d chunks from %d: %v", run, c, err)
		}
		c += run
	}
	if excepted != s.Len() {
		t.Errorf("%d exceptions on the origin, %d in all", excepted, s.Len())
	}
}

// dump is what thin_dump prints.
type dump struct {
	Time        uint32       `xml:"time,attr"`
	Transaction uint64       `xml:"transaction,attr"`
	BlockSize   int64        `xml:"data_block_size,attr"`
	DataBlocks  uint64       `xml:"nr_data_blocks,attr"`
	Devices     []dumpDevice `xml:"device"`
}

type dumpDevice struct {
	ID          uint32      `xml:"dev_id,attr"`
	Mapped      uint64      `xml:"mapped_blocks,attr"`
	Transaction uint64      `xml:"transaction,attr"`
	Created     uint32      `xml:"creation_time,attr"`
	Snapshotted uint32      `xml:"snap_time,attr"`
	Ranges      []dumpRange `xml:"range_mapping"`
	Singles     []struct {
		Origin uint64 `xml:"origin_block,attr"`
		Data   uint64 `xml:"data_block,attr"`
		Time   uint32 `xml:"time,attr"`
	} `xml:"single_mapping"`
}

type dumpRange struct {
	Origin uint64 `xml:"origin_begin,attr"`
	Data   uint64 `xml:"data_begin,attr"`
	Length uint64 `xml:"length,attr"`
	Time   uint32 `xml:"time,attr"`
}

// place is where a virtual block is.
type place struct {
	data   uint64
	shared bool
}

func (d *dumpDevice) places() map[uint64]place {
	places := make(map[uint64]place)
	ranges := d.Ranges
	for _, s := range d.Singles {
		ranges = append(ranges, dumpRange{s.Origin, s.Data, 1, s.Time})
	}
	for _, r := range ranges {
		for i := range r.Length {
			places[r.Origin+i] = place{r.Data + i, d.Snapshotted > r.Time}
		}
	}
	return places
}

// thinBlocks is the size of thin devices in blocks of 64 KiB.
const thinBlocks = 1500

// thinPool makes a pool with a device 1 that has a snapshot 2, and an empty
// device 3. The volume is written to that often before the snapshot.
func thinPool(t *testing.T, writes int) {
	t.Helper()
	vm.Run(t, "dd", "if=/dev/zero", "of="+vm.Device(t, diskC), "bs=1M", "count=8", "oflag=direct")
	meta := create(t, "y-meta", fmt.Sprintf("0 16384 linear %s 0", number(t, diskC)))
	data := create(t, "y-data", fmt.Sprintf("0 230400 linear %s 2048", number(t, diskA)))
	pool := create(t, "y-pool", fmt.Sprintf("0 230400 thin-pool %s %s 128 0 1 skip_block_zeroing", meta, data))
	for id := range 3 {
		message(t, fmt.Sprintf("create_thin %d", []int{1, 3, 5}[id]))
	}
	message(t, "delete 5")
	create(t, "y-thin", fmt.Sprintf("0 %d thin %s 1", thinBlocks*128, pool))
	scatter(t, 1, writes)
	vm.Run(t, "dmsetup", "suspend", "y-thin")
	message(t, "create_snap 2 1")
	vm.Run(t, "dmsetup", "resume", "y-thin")
	scatter(t, 2, writes/4)
}

func message(t *testing.T, text string) {
	t.Helper()
	vm.Run(t, "dmsetup", append([]string{"message", "y-pool", "0"}, strings.Fields(text)...)...)
}

// scatter writes to blocks of the thin device in random order.
func scatter(t *testing.T, seed uint64, writes int) {
	t.Helper()
	random := rand.New(rand.NewPCG(seed, 0))
	for range writes {
		vm.Stamp(t, "/dev/mapper/y-thin", seed, random.Int64N(thinBlocks)*65536, 4096)
	}
}

// reserve takes a metadata snapshot and tells its block.
func reserve(t *testing.T) uint64 {
	t.Helper()
	message(t, "reserve_metadata_snap")
	words := strings.Fields(vm.Run(t, "dmsetup", "status", "y-pool"))
	root, err := strconv.ParseUint(words[6], 10, 64)
	if err != nil {
		t.Fatalf("%q: %v", words, err)
	}
	return root
}

// Maps of a live pool are those that thin_dump finds, stay so while the pool is
// written to, and lead to what the thin device shows.
func TestThinMetadata(t *testing.T) {
	thinPool(t, 700)
	held := reserve(t)
	r := openDirect(t, "/dev/mapper/y-meta")
	super, err := thinmeta.ReadSuper(r, held)
	if err != nil {
		t.Fatal(err)
	}
	var want dump
	if err := xml.Unmarshal([]byte(vm.Run(t, "thin_dump", "--metadata-snap", "/dev/mapper/y-meta")), &want); err != nil {
		t.Fatal(err)
	}
	if super.Time != want.Time || super.Transaction != want.Transaction || super.DataBlockSize != remap.Sector(want.BlockSize) || super.DataBlocks != 1800 {
		t.Errorf("%+v, thin_dump says %+v", super, want)
	}
	if len(want.Devices) != 3 {
		t.Fatalf("thin_dump finds %d devices", len(want.Devices))
	}
	checkThin(t, r, super, want.Devices)
	m, _, err := thinmeta.Device(r, super, 1)
	if err != nil {
		t.Fatal(err)
	}
	checkContent(t, m)
	if _, _, err := thinmeta.Device(r, super, 5); !errors.Is(err, thinmeta.ErrNoDevice) {
		t.Errorf("a device that was deleted: %v", err)
	}

	// The pool goes on; what is held stays.
	scatter(t, 3, 150)
	vm.Run(t, "sync")
	checkThin(t, r, super, want.Devices)
	if again, err := thinmeta.ReadSuper(r, held); err != nil || *again != *super {
		t.Errorf("%+v was %+v, %v", again, super, err)
	}
	message(t, "release_metadata_snap")
	if _, err := thinmeta.ReadSuper(r, held); !errors.Is(err, thinmeta.ErrNotHeld) {
		t.Errorf("released: %v", err)
	}
}

func checkThin(t *testing.T, r direct, super *thinmeta.Super, devices []dumpDevice) {
	t.Helper()
	for _, d := range devices {
		m, details, err := thinmeta.Device(r, super, d.ID)
		if err != nil {
			t.Fatal(err)
		}
		if want := (thinmeta.Details{MappedBlocks: d.Mapped, Transaction: d.Transaction, CreationTime: d.Created, SnapshottedTime: d.Snapshotted}); *details != want {
			t.Errorf("device %d: %+v, want %+v", d.ID, *details, want)
		}
		got, sharing := make(map[uint64]place), 0
		for block := range uint64(thinBlocks) {
			if at, _, mapped, shared := m.Find(block); mapped {
				got[block] = place{at, shared}
				if shared {
					sharing++
				}
			}
		}
		if !reflect.DeepEqual(got, d.places()) {
			t.Errorf("device %d: %v, thin_dump says %v", d.ID, got, d.places())
		}
		t.Logf("device %d: %d blocks, %d shared, %d runs", d.ID, len(got), sharing, m.Runs())
	}
}

// checkContent compares the first sectors of each block with those of its
// place: the rest of a block was never written.
func checkContent(t *testing.T, m *thinmeta.Map) {
	t.Helper()
	for block := range uint64(thinBlocks) {
		at, _, mapped, _ := m.Find(block)
		if !mapped {
			continue
		}
		if err := vm.Compare("/dev/mapper/y-thin", int64(block)*65536, "/dev/mapper/y-data", int64(at)*65536, 4096); err != nil {
			t.Fatalf("block %d: %v", block, err)
		}
	}
}

// A pool whose metadata device has grown: the superblock's own count of blocks
// is the old one.
func TestThinMetadataGrows(t *testing.T) {
	thinPool(t, 20)
	vm.Run(t, "dmsetup", "suspend", "y-thin")
	vm.Run(t, "dmsetup", "suspend", "y-pool")
	vm.Run(t, "dmsetup", "load", "y-meta", "--table", fmt.Sprintf("0 40000 linear %s 0", number(t, diskC)))
	vm.Run(t, "dmsetup", "suspend", "y-meta")
	vm.Run(t, "dmsetup", "resume", "y-meta")
	vm.Run(t, "dmsetup", "load", "y-pool", "--table", strings.TrimSpace(vm.Run(t, "dmsetup", "table", "y-pool")))
	vm.Run(t, "dmsetup", "resume", "y-pool")
	vm.Run(t, "dmsetup", "resume", "y-thin")
	r, held := openDirect(t, "/dev/mapper/y-meta"), reserve(t)
	super, err := thinmeta.ReadSuper(r, held)
	if err != nil || super.MetadataBlocks != 5000 {
		t.Fatalf("%+v, %v", super, err)
	}
	block := make([]byte, 4096)
	if _, err := r.ReadAt(block, 0); err != nil {
		t.Fatal(err)
	}
	if old := binary.LittleEndian.Uint64(block[344:]); old != 2048 {
		t.Errorf("metadata_nr_blocks is %d", old)
	}
	if _, _, err := thinmeta.Device(r, super, 2); err != nil {
		t.Error(err)
	}
}

// The superblock of integrity says where data are.
func TestIntegritySuperblock(t *testing.T) {
	for name, v := range map[string]struct {
		options string
		fixed   bool
	}{
		"sectors":         {"1 internal_hash:crc32c", false},
		"blocks of 4096":  {"3 internal_hash:crc32c block_size:4096 interleave_sectors:1024", false},
		"fixed padding":   {"3 internal_hash:sha256 fix_padding interleave_sectors:512", true},
		"sections galore": {"3 internal_hash:sha256 fix_padding journal_sectors:5000", true},
	} {
		t.Run(name, func(t *testing.T) {
			path := vm.Device(t, diskB)
			vm.Run(t, "dd", "if=/dev/zero", "of="+path, "bs=4096", "count=3", "oflag=direct")
			base := create(t, "z-base", fmt.Sprintf("0 20000 linear %s 8", number(t, diskB)))
			vm.Run(t, "dmsetup", "create", "z-format", "--table", fmt.Sprintf("0 8 integrity %s 0 - D %s", base, v.options))
			vm.Run(t, "dmsetup", "remove", "--retry", "z-format")
			first := make([]byte, 4096)
			if _, err := openDirect(t, "/dev/mapper/z-base").ReadAt(first, 0); err != nil {
				t.Fatal(err)
			}
			super, err := integritysb.Parse(first)
			if err != nil {
				t.Fatal(err)
			}
			if fixed := super.Flags&integritysb.FixedPadding != 0; fixed != v.fixed {
				t.Errorf("%+v", super)
			}
			create(t, "z-top", fmt.Sprintf("0 %d integrity %s 0 - D %s", super.Provided, base, v.options))
			if words := strings.Fields(vm.Run(t, "dmsetup", "status", "z-top")); words[4] != fmt.Sprint(int64(super.Provided)) {
				t.Errorf("%d sectors, the kernel says %q", super.Provided, words)
			}
			vm.Stamp(t, "/dev/mapper/z-top", 9, 0, super.Provided.Bytes())
			for at := remap.Sector(0); at < super.Provided; at += super.Interleave {
				area := at / super.Interleave
				place := super.Initial() + at + (area+1)*super.Run()
				n := min(super.Interleave, super.Provided-at)
				vm.CheckStamp(t, "/dev/mapper/z-base", 9, place.Bytes(), at.Bytes(), n.Bytes())
			}
			t.Logf("%+v: initial %d, run %d", *super, super.Initial(), super.Run())
		})
	}
}
