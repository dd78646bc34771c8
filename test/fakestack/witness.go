package fakestack

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"

	"github.com/dmcopy/dmcopy/copydomain"
	"github.com/dmcopy/dmcopy/copydomain/nvme"
	"github.com/dmcopy/dmcopy/copydomain/scsi"
	"github.com/dmcopy/dmcopy/internal/dispatch/byterange"
	"github.com/dmcopy/dmcopy/remap"
)

// The witness takes every command apart that reaches a disk, as the specifications
// say and without the packages that have made it. It complains of commands that
// nobody needs for a copy, of those that are begun when the hold on the destination has
// ended, and of those that write anywhere but to the destination of the copy that is
// expected, as the tables are at that moment.

// task is a copy that is expected.
type task struct {
	dst    remap.Dev
	ranges []byterange.Range
	// spots are where its destination lies and may be written below, as far as the
	// tables were asked.
	spots map[place]bool
}

// run is a run of blocks of a disk that a command writes.
type run struct {
	leaf        *leaf
	lba, blocks uint64
}

// CrossNamespaces is that of [copydomain.Finder], which the witness has to know of.
func (m *Machine) CrossNamespaces(mode copydomain.CrossNamespace, log *slog.Logger) {
	m.mu.Lock()
	m.maySet = mode == copydomain.CrossEnable
	m.mu.Unlock()
	m.Finder.CrossNamespaces(mode, log)
}

// Witnessed tells how many commands wrote to where they may, by their names.
func (m *Machine) Witnessed(command string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.witnessed[command]
}

// witness judges a command that writes the runs. One whose context has ended does not leave
// any more: it was given up before, and so was its hold.
func (m *Machine) witness(ctx context.Context, command string, runs []run, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err != nil {
		m.complain("%s: %v", command, err)
		return
	}
	if ctx.Err() != nil {
		return
	}
	for _, r := range runs {
		if r.leaf.silenced() || m.UnsafeSwaps || m.task == nil {
			continue
		}
		if h := m.current; h == nil || h.lost && !h.early {
			m.complain("%s of %d blocks to LBA %d was begun while nothing held the destination", command, r.blocks, r.lba)
		}
		if s, outside := m.outside(r); outside {
			m.complain("%s of %d blocks to LBA %d writes to sector %d of disk %s, which is not of the destination", command, r.blocks, r.lba, s, r.leaf.facts.Identity)
		}
	}
	m.witnessed[command]++
}

// outside finds a sector of the run that is not of the destination. Places are asked
// for again before one is blamed: thin volumes gain some.
func (m *Machine) outside(r run) (int64, bool) {
	per := uint64(r.leaf.address.block / sectorSize)
	for s := r.lba * per; s < (r.lba+r.blocks)*per; s++ {
		at := place{r.leaf, int64(s)}
		if m.task.spots[at] {
			continue
		}
		if m.task.spots = m.below(m.task); !m.task.spots[at] {
			return at.sector, true
		}
	}
	return 0, false
}

// below are the sectors of disks that the destination of a copy lies on as it is.
func (m *Machine) below(t *task) map[place]bool {
	spots := make(map[place]bool)
	for _, r := range t.ranges {
		for off := r.Dst; off < r.Dst+r.Len; off += sectorSize {
			if at, ok := m.raw(t.dst, remap.Sector(off/sectorSize)); ok {
				spots[at] = true
			}
		}
	}
	return spots
}

// raw follows one sector of a device to where it may be written below: not below
// arrays, snapshots and their origins, nor to what a pool has not given yet.
func (m *Machine) raw(dev remap.Dev, s remap.Sector) (place, bool) {
	for {
		d := m.devices[dev]
		switch {
		case d == nil || s < 0 || s >= d.size:
			return place{}, false
		case d.leaf != nil:
			return place{d.leaf, int64(s)}, true
		case d.kind == array:
			return place{}, false
		}
		target, off := d.table.segment(s)
		b := target.bio(false, off)
		switch target.(type) {
		case *Snapshot, Origin, Scramble, Mirror:
			return place{}, false
		}
		if len(b.to) != 1 || b.err != nil {
			return place{}, false
		}
		dev, s = b.to[0].Dev, b.to[0].Start
	}
}

// witnessAdmin: NVM Express Base Specification, Identify, Get Log Page and Get
// Features; Set Features where the copy may tell controllers something. The feature is
// Host Behavior Support (16h), and is not saved.
func (m *Machine) witnessAdmin(c *nvme.Command) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case c.Opcode == 0x02, c.Opcode == 0x06:
	case c.Opcode == 0x0A && c.CDW10 == 0x16:
	case c.Opcode == 0x09 && c.CDW10 == 0x16 && m.maySet:
	default:
		m.complain("admin command %#02x with %#x", uint8(c.Opcode), c.CDW10)
	}
}

// witnessIO: NVM Command Set Specification, Copy and Flush; Zone Management Receive.
func (m *Machine) witnessIO(ctx context.Context, at *leaf, c *nvme.Command) {
	switch c.Opcode {
	case 0x00, 0x7A:
		m.witness(ctx, "question", nil, nil)
	case 0x19:
		r, err := copied(at, c)
		m.witness(ctx, fmt.Sprintf("Copy format %d", c.CDW12>>8&0xF), []run{r}, err)
	default:
		m.witness(ctx, "I/O", nil, fmt.Errorf("command %#02x", uint8(c.Opcode)))
	}
}

// copied is what a Copy command writes: from SDLBA (dwords 10 and 11) on the sum of
// its NR+1 descriptors of 32 bytes, each of NLB+1 blocks (bytes 17:16).
func copied(at *leaf, c *nvme.Command) (run, error) {
	const size = 32
	r := run{leaf: at, lba: uint64(c.CDW11)<<32 | uint64(c.CDW10)}
	if n := int(c.CDW12&0xFF) + 1; n*size != len(c.Data) || c.NSID != at.address.nsid {
		return r, fmt.Errorf("%d descriptors in %d bytes, to namespace %d by way of %d", n, len(c.Data), c.NSID, at.address.nsid)
	}
	for d := c.Data; len(d) > 0; d = d[size:] {
		r.blocks += uint64(binary.LittleEndian.Uint16(d[16:])) + 1
	}
	return r, nil
}

// unitCommands are those that a logical unit may get, by opcode and, where there is
// one, service action. SPC-4 and SBC-3.
var unitCommands = map[[2]byte]string{
	{0x00}: "TEST UNIT READY", {0x12}: "INQUIRY", {0x25}: "READ CAPACITY(10)", {0x9E, 0x10}: "READ CAPACITY(16)",
	{0x35}: "SYNCHRONIZE CACHE(10)", {0x91}: "SYNCHRONIZE CACHE(16)",
	{0x84, 0x00}: "RECEIVE COPY STATUS(LID1)", {0x84, 0x03}: "RECEIVE COPY OPERATING PARAMETERS",
	{0x84, 0x05}: "RECEIVE COPY STATUS(LID4)", {0x84, 0x07}: "RECEIVE ROD TOKEN INFORMATION",
	{0x83, 0x00}: "EXTENDED COPY(LID1)", {0x83, 0x01}: "EXTENDED COPY(LID4)",
	{0x83, 0x10}: "POPULATE TOKEN", {0x83, 0x11}: "WRITE USING TOKEN", {0x83, 0x1C}: "COPY OPERATION ABORT",
}

func (m *Machine) witnessUnit(ctx context.Context, at *leaf, c *scsi.Command) {
	key := [2]byte{c.CDB[0]}
	switch key[0] {
	case 0x83, 0x84, 0x9E:
		key[1] = c.CDB[1]
	}
	name, known := unitCommands[key]
	var runs []run
	var err error
	switch {
	case !known:
		name, err = "unit", fmt.Errorf("command % x", c.CDB)
	case key == [2]byte{0x83, 0x00}:
		runs, err = m.segments(at, c.Data, 16, lengths{c.Data, 2, 2}, lengths{c.Data, 8, 4})
	case key == [2]byte{0x83, 0x01}:
		runs, err = m.segments(at, c.Data, 48, lengths{c.Data, 42, 2}, lengths{c.Data, 44, 2})
	case key == [2]byte{0x83, 0x11}:
		runs, err = tokenRuns(at, c.Data)
	}
	m.witness(ctx, name, runs, err)
}

// lengths is a field of a parameter list that tells a length.
type lengths struct {
	list       []byte
	at, length int
}

func (l lengths) value() (n int) {
	for _, b := range l.list[l.at:][:l.length] {
		n = n<<8 | int(b)
	}
	return n
}

// segments are what an EXTENDED COPY writes: after a head, units that are named
// (32 bytes) and segments from block device to block device (28 bytes). SPC-4, 6.4.
func (m *Machine) segments(at *leaf, list []byte, head int, units, segments lengths) (runs []run, err error) {
	const unitSize, segmentSize = 32, 28
	if len(list) < head || len(list) != head+units.value()+segments.value() || units.value()%unitSize != 0 || segments.value()%segmentSize != 0 {
		return nil, fmt.Errorf("list % x", list)
	}
	named, rest := list[head:][:units.value()], list[head+units.value():]
	for s := rest; len(s) > 0; s = s[segmentSize:] {
		i := int(binary.BigEndian.Uint16(s[6:])) * unitSize
		if s[0] != 0x02 || i >= len(named) {
			return nil, fmt.Errorf("segment % x", s[:segmentSize])
		}
		to := m.called(at, named[i:][:unitSize])
		if to == nil {
			return nil, fmt.Errorf("nobody is called % x", named[i:][:unitSize])
		}
		runs = append(runs, run{to, binary.BigEndian.Uint64(s[20:]), uint64(binary.BigEndian.Uint16(s[10:]))})
	}
	return runs, nil
}

// called finds a logical unit by an identification descriptor: E4h, then code set,
// association and type, length, and name as in page 83h. The unit that has got the
// command comes first.
func (m *Machine) called(at *leaf, descriptor []byte) *leaf {
	all := []*leaf{at}
	for _, d := range m.order {
		if d.leaf != nil {
			all = append(all, d.leaf)
		}
	}
	for _, l := range all {
		for _, n := range l.address.names {
			want := append([]byte{n.CodeSet, byte(n.Association)<<4 | byte(n.Type), 0, byte(len(n.Value))}, n.Value...)
			if descriptor[0] == 0xE4 && len(n.Value) <= 20 && bytes.Equal(descriptor[4:][:len(want)], want) {
				return l
			}
		}
	}
	return nil
}

// tokenRuns are the ranges of a WRITE USING TOKEN: 16 bytes each, from byte 536 on,
// with their length before them. SBC-3, 5.49.
func tokenRuns(at *leaf, list []byte) (runs []run, err error) {
	const head, size = 536, 16
	if len(list) < head || int(binary.BigEndian.Uint16(list[head-2:])) != len(list)-head || (len(list)-head)%size != 0 {
		return nil, fmt.Errorf("list of %d bytes", len(list))
	}
	for d := list[head:]; len(d) > 0; d = d[size:] {
		runs = append(runs, run{at, binary.BigEndian.Uint64(d), uint64(binary.BigEndian.Uint32(d[8:]))})
	}
	return runs, nil
}

// admin is a controller that the witness looks at.
type admin struct {
	nvme.BehaviorSetter
	m *Machine
}

// Admin implements nvme.Transport.
func (a *admin) Admin(ctx context.Context, c *nvme.Command) (nvme.Completion, error) {
	a.m.witnessAdmin(c)
	return a.BehaviorSetter.Admin(ctx, c)
}
