// Package enginetest holds one suite that every emulation.Engine must pass, and
// the device with injected faults that it needs.
package enginetest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/emulation"
	"github.com/dmcopy/dmcopy/internal/blockio"
)

const sectorSize = 512

// Config of a Memory. Size and BlockSize are bytes.
type Config struct {
	Name      string
	Size      int64 // need not be a multiple of BlockSize, as that of a regular file
	BlockSize int   // a power of two; 1 for no alignment
	Exact     bool  // writes are of any length

	// ReadFaults and WriteFaults hold the error of each bad sector, by its
	// 512-byte number. A transfer that touches a bad sector fails with it; what
	// is before the sector has been transferred, and is not reported.
	ReadFaults, WriteFaults map[int64]error

	// Hiccups makes transfers short, in the middle of a block as well, and fail
	// with EINTR and EAGAIN, a few times at each offset.
	Hiccups bool
	// NoZero leaves Zero unsupported.
	NoZero bool
	// Async leaves transfers to a Kernel.
	Async bool
	// Before is called before each transfer, without a lock.
	Before func(op string, off, n int64)
}

// Memory is a device in memory. Like the kernel it refuses direct I/O whose
// offset, length or memory is not aligned, with EINVAL.
type Memory struct {
	config Config
	number int // of a Kernel

	mu       sync.Mutex
	data     []byte
	hiccups  map[hiccup]int
	random   *rand.Rand
	inFlight int
	deepest  int
}

type hiccup struct {
	write bool
	off   int64
}

var _ emulation.Device = (*Memory)(nil)

// NewMemory makes a device that is all zero.
func NewMemory(config Config) *Memory {
	m := &Memory{
		config:  config,
		data:    make([]byte, config.Size),
		hiccups: map[hiccup]int{},
		random:  rand.New(rand.NewPCG(1, uint64(config.Size))),
	}
	if config.Async {
		m.number = enroll(m)
	}
	return m
}

// ReadAt implements emulation.Device.
func (m *Memory) ReadAt(p []byte, off int64) (int, error) { return m.transfer(false, p, off) }

// WriteAt implements emulation.Device.
func (m *Memory) WriteAt(p []byte, off int64) (int, error) { return m.transfer(true, p, off) }

// Zero implements emulation.Device.
func (m *Memory) Zero(off, n int64) error {
	if m.config.NoZero {
		return unix.EOPNOTSUPP
	}
	if !m.aligned(off, n) || n == 0 || n%int64(m.config.BlockSize) != 0 {
		return m.invalid("zero", off, n)
	}
	m.enter("zero", off, n)
	defer m.leave()
	m.mu.Lock()
	defer m.mu.Unlock()
	good, err := healthy(m.config.WriteFaults, off, n)
	clear(m.data[off:][:good])
	return err
}

// Flush implements emulation.Device.
func (m *Memory) Flush() error { return nil }

// BlockSize implements emulation.Device.
func (m *Memory) BlockSize() int { return m.config.BlockSize }

// WriteUnit implements emulation.Device.
func (m *Memory) WriteUnit() int {
	if m.config.Exact {
		return 1
	}
	return m.config.BlockSize
}

// Size implements emulation.Device.
func (m *Memory) Size() int64 { return m.config.Size }

// Name implements emulation.Device.
func (m *Memory) Name() string { return m.config.Name }

// ID implements emulation.Device.
func (m *Memory) ID() string { return fmt.Sprintf("memory:%p", m) }

// Contents returns a copy of all bytes.
func (m *Memory) Contents() []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.data)
}

// Fill overwrites the start of the device, past all faults.
func (m *Memory) Fill(data []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	copy(m.data, data)
}

// InFlight returns how many transfers there are now, and the most there were at
// one time.
func (m *Memory) InFlight() (now, most int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.inFlight, m.deepest
}

func (m *Memory) transfer(write bool, p []byte, off int64) (int, error) {
	op, faults := "read", m.config.ReadFaults
	if write {
		op, faults = "write", m.config.WriteFaults
	}
	n := int64(len(p))
	if !write { // a read may reach past the end, the last block is short then
		n = min(n, max(m.config.Size-off, 0))
	}
	if n == 0 || !m.takes(write, p, off, n) {
		return 0, m.invalid(op, off, int64(len(p)))
	}
	m.enter(op, off, n)
	defer m.leave()
	n, err := m.hiccup(write, off, n)
	if err != nil {
		return 0, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	good, err := healthy(faults, off, n)
	if write {
		copy(m.data[off:][:good], p)
	} else {
		copy(p, m.data[off:][:good])
	}
	if err != nil {
		return 0, err
	}
	return int(n), nil
}

// takes checks a transfer, which reaches n bytes into the device.
func (m *Memory) takes(write bool, p []byte, off, n int64) bool {
	block := int64(m.config.BlockSize)
	if write && m.config.Exact {
		edge := min((block-off%block)%block, n)
		whole := (n - edge) &^ (block - 1)
		return off >= 0 && off+n <= m.config.Size && (whole == 0 || blockio.Aligned(p[edge:], min(int(block), 4096)))
	}
	return m.aligned(off, n) && (write || int64(len(p))%block == 0) && blockio.Aligned(p, min(int(block), 4096))
}

// aligned checks a range that may end at the end of the device.
func (m *Memory) aligned(off, n int64) bool {
	block := int64(m.config.BlockSize)
	return off >= 0 && n >= 0 && off%block == 0 && off+n <= m.config.Size &&
		(n%block == 0 || off+n == m.config.Size)
}

// invalid is what the kernel says to a transfer that breaks the rules.
func (m *Memory) invalid(op string, off, n int64) error {
	return fmt.Errorf("%s of %d bytes at %d on %s: %w", op, n, off, m.config.Name, unix.EINVAL)
}

// healthy returns how many bytes of a range come before the first bad sector, and
// its error.
func healthy(faults map[int64]error, off, n int64) (int64, error) {
	for sector := off / sectorSize; sector*sectorSize < off+n && len(faults) > 0; sector++ {
		if err := faults[sector]; err != nil {
			return max(sector*sectorSize-off, 0), err
		}
	}
	return n, nil
}

// hiccup shortens or refuses some transfers, but no more than three at one
// offset: an engine must not need luck.
func (m *Memory) hiccup(write bool, off, n int64) (int64, error) {
	if !m.config.Hiccups {
		return n, nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	at := hiccup{write, off}
	if m.hiccups[at] >= 3 {
		return n, nil
	}
	m.hiccups[at]++
	switch m.random.IntN(6) {
	case 0:
		return 0, unix.EINTR
	case 1:
		return 0, unix.EAGAIN
	case 2, 3:
		return 1 + m.random.Int64N(n), nil
	}
	return n, nil
}

func (m *Memory) enter(op string, off, n int64) {
	m.mu.Lock()
	m.inFlight++
	m.deepest = max(m.deepest, m.inFlight)
	m.mu.Unlock()
	runtime.Gosched() // let others in between a read and the write that follows
	if m.config.Before != nil {
		m.config.Before(op, off, n)
	}
}

func (m *Memory) leave() {
	m.mu.Lock()
	m.inFlight--
	m.mu.Unlock()
}

// errFaults are the errors that the suite puts into bad sectors.
var errFaults = []error{unix.EIO, unix.ENODATA, unix.EILSEQ}

func isFault(err error) bool {
	return slices.ContainsFunc(errFaults, func(fault error) bool { return errors.Is(err, fault) })
}
