package dmtable

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/dmtable/dmtest"
	"github.com/dmcopy/dmcopy/remap"
)

const million = 1_000_000

// manyLines is a device of n linear lines of 8 sectors on two disks.
func manyLines(n int) dmtest.Device {
	d := dmtest.Device{Dev: remap.Dev{Major: 253}, Name: "many", Flags: unix.DM_ACTIVE_PRESENT_FLAG}
	for i := range n {
		d.Lines = append(d.Lines, fmt.Sprintf("%d 8 linear 8:%d %d", i*8, 16+16*(i%2), (n-i)*64))
	}
	return d
}

// canned answers every ioctl with a reply that was read before.
type canned struct {
	dmtest.Kernel
	replies map[uint][]byte
}

func (c *canned) Ioctl(command uint, buf []byte) error {
	reply := c.replies[command]
	if len(reply) > len(buf) {
		copy(buf, reply[:sizeofHeader])
		buf[offFlags+1] |= unix.DM_BUFFER_FULL_FLAG >> 8
		return nil
	}
	copy(buf, reply)
	return nil
}

// millionLines is a Control whose replies are made already.
func millionLines(b *testing.B) *Control {
	device := manyLines(million)
	k := dmtest.New(device)
	c := &canned{replies: make(map[uint][]byte)}
	buf := make([]byte, 128<<20)
	for command, flags := range map[uint]uint32{unix.DM_TABLE_STATUS: tableFlags, unix.DM_TABLE_DEPS: 0} {
		clear(buf)
		putRequest(buf, flags, device.Dev)
		if err := k.Ioctl(command, buf); err != nil {
			b.Fatal(err)
		}
		c.replies[command] = append([]byte(nil), buf[:reply(buf).u32(offDataSize)]...)
	}
	return New(c)
}

func BenchmarkTableMillion(b *testing.B) {
	c := millionLines(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Table(remap.Dev{Major: 253}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkStateMillion(b *testing.B) {
	c := millionLines(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.State(remap.Dev{Major: 253}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkLayerMillion(b *testing.B) {
	t, err := millionLines(b).Table(remap.Dev{Major: 253})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		t.Layer()
	}
}

func BenchmarkMapSequential(b *testing.B) {
	t, err := millionLines(b).Table(remap.Dev{Major: 253})
	if err != nil {
		b.Fatal(err)
	}
	l, s := t.Layer(), remap.Sector(0)
	b.ReportAllocs()
	for b.Loop() {
		s += l.Map(remap.Read, s, 8).Len
		if s == 8*million {
			s = 0
		}
	}
}

func BenchmarkMapRandom(b *testing.B) {
	t, err := millionLines(b).Table(remap.Dev{Major: 253})
	if err != nil {
		b.Fatal(err)
	}
	l, rnd := t.Layer(), rand.New(rand.NewPCG(1, 2))
	b.ReportAllocs()
	for b.Loop() {
		l.Map(remap.Read, remap.Sector(rnd.Int64N(8*million)), 8)
	}
}
