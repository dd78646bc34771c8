package vm

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc64"
	"io"
	"os"
	"sync"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	sectorSize = 512     // bytes
	chunkSize  = 1 << 20 // bytes of one read or write; software emulation pays per command
)

// chunks holds buffers of chunkSize, aligned as O_DIRECT needs them.
var chunks = sync.Pool{New: func() any {
	const align = 4096 // the largest logical block size that a Disk can have
	room := make([]byte, chunkSize+align)
	skip := -int(uintptr(unsafe.Pointer(&room[0]))) & (align - 1)
	buffer := room[skip : skip+chunkSize : skip+chunkSize]
	return &buffer
}}

// fillStamp writes the stamp of the sectors that start at offset bytes. The first word of a sector is its byte address, the
// second is the seed, and the other words follow from both, so that no other place or seed has an equal sector and a
// misplaced sector tells where it belongs.
func fillStamp(buffer []byte, seed, offset uint64) {
	for at := 0; at < len(buffer); at += sectorSize {
		sector := buffer[at : at+sectorSize]
		address := offset + uint64(at)
		binary.LittleEndian.PutUint64(sector, address)
		binary.LittleEndian.PutUint64(sector[8:], seed)
		// Odd multipliers keep different (address, seed) pairs apart and the words of a sector different.
		word := (address+1)*0x9e3779b97f4a7c15 ^ seed*0xc2b2ae3d27d4eb4f
		for i := 16; i < sectorSize; i += 8 {
			word += 0x165667b19e3779f9
			binary.LittleEndian.PutUint64(sector[i:], word)
		}
	}
}

// ParseStamp returns the seed and the byte address of the stamp that a sector holds; ok is false if it holds none.
func ParseStamp(sector []byte) (seed, address uint64, ok bool) {
	address, seed = binary.LittleEndian.Uint64(sector), binary.LittleEndian.Uint64(sector[8:])
	var want [sectorSize]byte
	fillStamp(want[:], seed, address)
	return seed, address, bytes.Equal(sector, want[:])
}

// DescribeSector says what a sector seems to hold.
func DescribeSector(sector []byte) string {
	if bytes.Equal(sector, make([]byte, sectorSize)) {
		return "zeroes"
	}
	if seed, address, ok := ParseStamp(sector); ok {
		return fmt.Sprintf("the stamp of byte %d, seed %d", address, seed)
	}
	return fmt.Sprintf("no stamp: %x…", sector[:32])
}

// A StampError is a sector that does not hold the stamp asked for.
type StampError struct {
	Device string
	Offset int64  // bytes, of the sector on the device
	Holds  string // what it holds, in words
	Wants  string
}

func (e *StampError) Error() string {
	return fmt.Sprintf("%s: sector at byte %d holds %s, want %s", e.Device, e.Offset, e.Holds, e.Wants)
}

// FillStamp writes into a buffer of whole sectors what [Stamp] writes at offset bytes of a device.
func FillStamp(buffer []byte, seed uint64, offset int64) { fillStamp(buffer, seed, uint64(offset)) }

// Stamp stamps length bytes of a device from offset with O_DIRECT: each 512-byte sector gets its own address and the seed.
// Offset and length are bytes, multiples of the device's logical block size.
func Stamp(t testing.TB, device string, seed uint64, offset, length int64) {
	t.Helper()
	err := eachChunk(device, unix.O_WRONLY, offset, length, func(f *os.File, chunk []byte, at int64) error {
		fillStamp(chunk, seed, uint64(at))
		_, err := f.WriteAt(chunk, at)
		return err
	})
	if err != nil {
		t.Fatalf("stamp: %v", err)
	}
}

// CheckStamp ends the test unless length bytes of a device from offset hold what Stamp with stampOffset has written:
// the sector at offset holds the stamp of stampOffset, and so on. It reads with O_DIRECT.
func CheckStamp(t testing.TB, device string, seed uint64, offset, stampOffset, length int64) {
	t.Helper()
	if err := TryStamp(device, seed, offset, stampOffset, length); err != nil {
		t.Fatal(err)
	}
}

// TryStamp is CheckStamp that returns the first difference, a [*StampError].
func TryStamp(device string, seed uint64, offset, stampOffset, length int64) error {
	buffer := chunks.Get().(*[]byte)
	defer chunks.Put(buffer)
	return readChunks(device, offset, length, func(chunk []byte, at int64) error {
		want := (*buffer)[:len(chunk)]
		fillStamp(want, seed, uint64(at-offset+stampOffset))
		if bytes.Equal(chunk, want) {
			return nil
		}
		for i := 0; ; i += sectorSize {
			if !bytes.Equal(chunk[i:i+sectorSize], want[i:i+sectorSize]) {
				return &StampError{Device: device, Offset: at + int64(i), Holds: DescribeSector(chunk[i : i+sectorSize]),
					Wants: DescribeSector(want[i : i+sectorSize])}
			}
		}
	})
}

var crcTable = crc64.MakeTable(crc64.ECMA)

// Hash returns the CRC-64 (ECMA) of length bytes of a device from offset, read with O_DIRECT. It tells equal contents from
// accidents, not from attacks.
func Hash(device string, offset, length int64) (uint64, error) {
	var sum uint64
	err := readChunks(device, offset, length, func(chunk []byte, _ int64) error {
		sum = crc64.Update(sum, crcTable, chunk)
		return nil
	})
	return sum, err
}

// ErrDiffer is what Compare returns for a difference, wrapped with its place.
var ErrDiffer = errors.New("contents differ")

// Compare compares length bytes of device a from offset aOffset with device b from bOffset, both read with O_DIRECT.
func Compare(a string, aOffset int64, b string, bOffset, length int64) error {
	fb, err := openDirect(b, unix.O_RDONLY)
	if err != nil {
		return err
	}
	defer fb.Close()
	buffer := chunks.Get().(*[]byte)
	defer chunks.Put(buffer)
	return readChunks(a, aOffset, length, func(chunk []byte, at int64) error {
		other := (*buffer)[:len(chunk)]
		if err := readFull(fb, other, at-aOffset+bOffset); err != nil {
			return err
		}
		if bytes.Equal(chunk, other) {
			return nil
		}
		i := 0
		for chunk[i] == other[i] {
			i++
		}
		sector := i / sectorSize * sectorSize
		return fmt.Errorf("%w: %s at byte %d holds %s, %s at byte %d holds %s", ErrDiffer,
			a, at+int64(sector), DescribeSector(chunk[sector:sector+sectorSize]),
			b, at-aOffset+bOffset+int64(sector), DescribeSector(other[sector:sector+sectorSize]))
	})
}

// readChunks reads a range in chunks, in order, and hands each one to visit with its offset in bytes.
func readChunks(device string, offset, length int64, visit func(chunk []byte, at int64) error) error {
	return eachChunk(device, unix.O_RDONLY, offset, length, func(f *os.File, chunk []byte, at int64) error {
		if err := readFull(f, chunk, at); err != nil {
			return err
		}
		return visit(chunk, at)
	})
}

// readFull reads into all of buffer; a device that ends in between is an error.
func readFull(f *os.File, buffer []byte, at int64) error {
	n, err := f.ReadAt(buffer, at)
	if n == len(buffer) {
		return nil
	}
	if err == io.EOF {
		err = fmt.Errorf("read %s at byte %d: %w", f.Name(), at, io.ErrUnexpectedEOF)
	}
	return err
}

// eachChunk visits a range of a device in pieces of up to chunkSize with a buffer of that length.
func eachChunk(device string, flags int, offset, length int64, visit func(f *os.File, chunk []byte, at int64) error) error {
	if (offset|length)%sectorSize != 0 {
		return fmt.Errorf("%s: range %d+%d bytes is not in whole sectors", device, offset, length)
	}
	f, err := openDirect(device, flags)
	if err != nil {
		return err
	}
	defer f.Close()
	buffer := chunks.Get().(*[]byte)
	defer chunks.Put(buffer)
	for at, end := offset, offset+length; at < end; {
		chunk := (*buffer)[:min(chunkSize, end-at)]
		if err := visit(f, chunk, at); err != nil {
			return err
		}
		at += int64(len(chunk))
	}
	return nil
}

func openDirect(device string, flags int) (*os.File, error) {
	return os.OpenFile(device, flags|unix.O_DIRECT|unix.O_CLOEXEC, 0)
}
