package dispatch

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/dmcopy/dmcopy/emulation"
	"github.com/dmcopy/dmcopy/internal/blockio"
	"github.com/dmcopy/dmcopy/internal/dispatch/account"
	"github.com/dmcopy/dmcopy/internal/dispatch/byterange"
	"github.com/dmcopy/dmcopy/internal/dispatch/ends"
	"github.com/dmcopy/dmcopy/internal/dispatch/failure"
	"github.com/dmcopy/dmcopy/internal/dispatch/hostcopy"
	"github.com/dmcopy/dmcopy/internal/dispatch/plan"
	"github.com/dmcopy/dmcopy/internal/dispatch/zones"
)

// disk is a device in memory. With a zone size it takes writes at the pointers of its zones
// only.
type disk struct {
	name string
	mem  []byte
	size int64 // of a zone, in bytes; 0 for none
	cap  int64 // of a zone
	at   []int64
	full map[int64]bool // zones that take nothing
}

const (
	testZone  = 16 << 10
	testZones = 8
)

func newDisk(name string, capacity int64) *disk {
	d := &disk{name: name, mem: make([]byte, testZone*testZones), full: make(map[int64]bool)}
	if capacity > 0 {
		d.size, d.cap, d.at = testZone, capacity, make([]int64, testZones)
	}
	return d
}

var errPointer = errors.New("not at the write pointer")

func (d *disk) ReadAt(p []byte, off int64) (int, error) { return copy(p, d.mem[off:]), nil }

func (d *disk) WriteAt(p []byte, off int64) (int, error) {
	if d.size == 0 {
		return copy(d.mem[off:], p), nil
	}
	z := off / d.size
	n := min(int64(len(p)), (z+1)*d.size-off) // the kernel cuts at the boundaries
	if d.full[z] || off%d.size != d.at[z] || d.at[z]+n > d.cap {
		return 0, fmt.Errorf("%w: byte %d", errPointer, off)
	}
	d.at[z] += n
	return copy(d.mem[off:off+n], p), nil
}

func (d *disk) Zero(off, n int64) error { return errors.New("zeroes are not written") }
func (d *disk) Flush() error            { return nil }
func (d *disk) BlockSize() int          { return 512 }
func (d *disk) WriteUnit() int          { return 512 }
func (d *disk) Size() int64             { return int64(len(d.mem)) }
func (d *disk) Name() string            { return d.name }
func (d *disk) ID() string              { return d.name }

// Zones implements ZoneReporter.
func (d *disk) Zones(off, n int64) ([]blockio.Zone, error) {
	var found []blockio.Zone
	for z := off / d.size; z*d.size < off+n; z++ {
		found = append(found, blockio.Zone{
			Start: z * d.size, Len: d.size, Capacity: d.cap, Sequential: true, Pointer: z*d.size + d.at[z], Writable: !d.full[z] && d.at[z] < d.cap,
		})
	}
	return found, nil
}

// zonedRun is a run to a zoned destination from files, which have no layout.
func zonedRun(t testing.TB, src, dst *disk, ranges ...byterange.Range) *run {
	t.Helper()
	r, err := New(nil).newRun(Job{
		Src: ends.Endpoint{Name: "src", Device: src}, Dst: ends.Endpoint{Name: "dst", Device: dst, Zones: dst}, Ranges: ranges,
	}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.close() })
	r.layout.Follow(&plan.Plan{})
	return r
}

func TestZonesRefuse(t *testing.T) {
	for name, tc := range map[string]struct {
		ranges []byterange.Range
		says   string
	}{
		"whole zones":         {[]byterange.Range{{Src: 0, Dst: 2 * testZone, Len: 12 << 10}, {Src: 0, Dst: 3 * testZone, Len: 12 << 10}}, ""},
		"at the pointer":      {[]byterange.Range{{Src: 0, Dst: testZone + 4096, Len: 4096}}, ""},
		"in pieces":           {[]byterange.Range{{Src: 0, Dst: 2 * testZone, Len: 4096}, {Src: 0, Dst: 3 * testZone, Len: 512}, {Src: 0, Dst: 2*testZone + 4096, Len: 4096}}, ""},
		"out of order":        {[]byterange.Range{{Src: 0, Dst: 2*testZone + 4096, Len: 4096}, {Src: 0, Dst: 2 * testZone, Len: 4096}}, "takes nothing except at byte 32768"},
		"behind the pointer":  {[]byterange.Range{{Src: 0, Dst: testZone + 8192, Len: 4096}}, "takes nothing except at byte 20480"},
		"before the pointer":  {[]byterange.Range{{Src: 0, Dst: testZone, Len: 4096}}, "takes nothing except at byte 20480"},
		"over the capacity":   {[]byterange.Range{{Src: 0, Dst: 2 * testZone, Len: 12<<10 + 512}}, "ends at byte 45056"},
		"over the end":        {[]byterange.Range{{Src: 0, Dst: 2 * testZone, Len: testZone + 512}}, "ends at byte 45056"},
		"full":                {[]byterange.Range{{Src: 0, Dst: 4 * testZone, Len: 512}}, "cannot be written in the zone at byte 65536"},
		"read only":           {[]byterange.Range{{Src: 0, Dst: 5 * testZone, Len: 512}}, "cannot be written in the zone at byte 81920"},
		"one of many is full": {[]byterange.Range{{Src: 0, Dst: 2 * testZone, Len: 512}, {Src: 0, Dst: 4 * testZone, Len: 512}}, "cannot be written"},
	} {
		dst := newDisk("dst", 12<<10)
		dst.at[1], dst.at[4] = 4096, 12<<10
		dst.full[5] = true
		r := zonedRun(t, newDisk("src", 0), dst, tc.ranges...)
		_, err := r.survey(t.Context())
		if tc.says == "" && err != nil || tc.says != "" && (!errors.Is(err, failure.ErrRefused) || !strings.Contains(err.Error(), tc.says)) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestZonesOrder: behind what the host writes to a zone, or somebody has begun, nothing is
// left to the device.
func TestZonesOrder(t *testing.T) {
	dst := newDisk("dst", testZone)
	dst.at[1] = 512
	r := zonedRun(t, newDisk("src", 0), dst, byterange.Range{Src: 0, Dst: testZone + 512, Len: 5*testZone - 512})
	if err := r.zones.Refuse(r.job.Ranges); err != nil {
		t.Fatal(err)
	}
	step := func(from, to int64, m account.Method) plan.Step {
		return plan.Step{DstOff: from, Len: to - from, Method: m}
	}
	describe := func(steps []plan.Step) (s string) {
		for _, p := range r.zones.Order(steps) {
			s += fmt.Sprintf("%d+%d %s %s;", p.DstOff/testZone, p.DstOff%testZone, p.Method, p.Reason)
			if p.DstOff/testZone != (p.DstOff+p.Len-1)/testZone {
				t.Errorf("%+v crosses a boundary", p)
			}
		}
		return s
	}
	// The pointer of zone 1 may be known to the kernel; zone 2 begins with the device.
	got := describe([]plan.Step{
		step(testZone+512, 2*testZone+1024, account.NVMeCopy), step(2*testZone+1024, 2*testZone+1536, account.Host),
		step(2*testZone+1536, 3*testZone+512, account.NVMeCopy),
	})
	want := "1+512 host zone:order;2+0 nvme-copy ;2+1024 host ;2+1536 host zone:order;3+0 nvme-copy ;"
	if got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
	// The next window goes on in zone 3, and a zone that begins with zeroes is the host's.
	got = describe([]plan.Step{
		step(3*testZone+512, 4*testZone, account.NVMeCopy), step(4*testZone, 4*testZone+512, account.Zero), step(4*testZone+512, 5*testZone+512, account.NVMeCopy),
	})
	if want := "3+512 nvme-copy ;4+0 zero ;4+512 host zone:order;5+0 nvme-copy ;"; got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
}

// TestFromPointers: commands have written more than they told of.
func TestFromPointers(t *testing.T) {
	const length = 2 * testZone
	for name, tc := range map[string]struct {
		at    [2]int64 // how far zones 2 and 3 are written
		wrong int64    // byte of the destination that is
		left  string
		says  string
	}{
		"nothing":              {[2]int64{}, -1, "0+16384; 16384+16384; ", ""},
		"a part":               {[2]int64{4096, 0}, -1, "4096+12288; 16384+16384; ", ""},
		"all of a zone":        {[2]int64{testZone, 512}, -1, "16896+15872; ", ""},
		"all":                  {[2]int64{testZone, testZone}, -1, "", ""},
		"wrong":                {[2]int64{4096, 0}, 4000, "", "differs from byte 36768 on"},
		"wrong in zone 3":      {[2]int64{4096, 512}, testZone, "", "differs from byte 49152 on"},
		"wrong behind pointer": {[2]int64{4096, 0}, 4096, "4096+12288; 16384+16384; ", ""},
	} {
		t.Run(name, func(t *testing.T) {
			src, dst := newDisk("src", 0), newDisk("dst", testZone)
			for i := range src.mem {
				src.mem[i] = byte(i*7 + i>>9)
			}
			r := zonedRun(t, src, dst, byterange.Range{Src: 0, Dst: 2 * testZone, Len: length})
			if err := r.zones.Refuse(r.job.Ranges); err != nil {
				t.Fatal(err)
			}
			copy(dst.mem[2*testZone:], src.mem[:length])
			if tc.wrong >= 0 {
				dst.mem[2*testZone+tc.wrong] ^= 1
			}
			dst.at[2], dst.at[3] = tc.at[0], tc.at[1]
			steps := []plan.Step{{SrcOff: 1000, DstOff: 2*testZone + 1000, Len: length - 1000, Method: account.Host}, {DstOff: 2 * testZone, Len: 1000, Method: account.Host}}
			left, err := r.zones.FromPointers(t.Context(), steps)
			if tc.says != "" {
				if !errors.Is(err, zones.ErrZone) || !strings.Contains(err.Error(), tc.says) {
					t.Errorf("%v", err)
				}
				return
			}
			var got string
			for op := range hostcopy.Ops(left) {
				for n := int64(0); op.Len > 0; op.Src, op.Dst, op.Len = op.Src+n, op.Dst+n, op.Len-n {
					n = min(op.Len, testZone-op.Dst%testZone)
					got += fmt.Sprintf("%d+%d; ", op.Src, n)
				}
			}
			if err != nil || got != tc.left {
				t.Errorf("left %s, want %s (%v)", got, tc.left, err)
			}
			if done := r.account.Bytes(account.Offloaded); done != tc.at[0]+tc.at[1] {
				t.Errorf("%d bytes are counted as offloaded", done)
			}
		})
	}
	t.Run("behind what was done", func(t *testing.T) {
		r := zonedRun(t, newDisk("src", 0), newDisk("dst", testZone), byterange.Range{Src: 0, Dst: 2 * testZone, Len: testZone})
		if err := r.zones.Refuse(r.job.Ranges); err != nil {
			t.Fatal(err)
		}
		_, err := r.zones.FromPointers(t.Context(), []plan.Step{{SrcOff: 512, DstOff: 2*testZone + 512, Len: 512, Method: account.Host}})
		if !errors.Is(err, zones.ErrZone) || !strings.Contains(err.Error(), "up to byte 32768 instead of 33280") {
			t.Error(err)
		}
	})
}

// TestZonesAreLost: zones that have lost what was copied to them cannot be written again.
func TestZonesAreLost(t *testing.T) {
	src, dst := newDisk("src", 0), newDisk("dst", testZone)
	for i := range src.mem {
		src.mem[i] = byte(i >> 9)
	}
	r := zonedRun(t, src, dst, byterange.Range{Len: testZone})
	r.record.Note(r.job.Ranges, account.Share{})
	r.record.MarkForRecheck(r.job.Ranges)
	if _, _, err := r.reviewer.review(t.Context(), r.layout.Plan(), false); !errors.Is(err, zones.ErrZone) {
		t.Errorf("not there: %v", err)
	}
	copy(dst.mem, src.mem)
	r.record.MarkForRecheck(r.job.Ranges)
	if again, _, err := r.reviewer.review(t.Context(), r.layout.Plan(), false); err != nil || len(again) > 0 {
		t.Errorf("there: %v, %v", again, err)
	}
}

// TestCopyToZones: a copy through the host leaves the bytes and the pointers that it should.
func TestCopyToZones(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		src, dst := newDisk("src", 0), newDisk("dst", rapid.SampledFrom([]int64{testZone, 12 << 10}).Draw(rt, "capacity"))
		for i := range src.mem {
			if i>>12%3 > 0 { // with runs of zeroes
				src.mem[i] = byte(i*7 + i>>9)
			}
		}
		want := bytes.Clone(dst.mem)
		var ranges []byterange.Range
		for z := range int64(testZones) {
			dst.at[z] = rapid.Int64Range(0, dst.cap/512).Draw(rt, "written") * 512
			for at := dst.at[z]; at < dst.cap && rapid.Bool().Draw(rt, "range"); {
				n := rapid.Int64Range(1, (dst.cap-at)/512).Draw(rt, "length") * 512
				from := rapid.Int64Range(0, (int64(len(src.mem))-n)/512).Draw(rt, "source") * 512
				ranges = append(ranges, byterange.Range{Src: from, Dst: z*testZone + at, Len: n})
				copy(want[z*testZone+at:][:n], src.mem[from:])
				at += n
			}
		}
		if len(ranges) == 0 {
			return
		}
		rep, err := New(nil).Copy(t.Context(), Job{
			Src: ends.Endpoint{Name: "src", Device: src}, Dst: ends.Endpoint{Name: "dst", Device: dst, Zones: dst}, Ranges: ranges,
		}, Options{Sparse: rapid.Bool().Draw(rt, "sparse"), Verify: account.VerifyFull})
		if err != nil || rep.Host+rep.Zeroed != rep.Total {
			rt.Fatalf("%v, %+v", err, rep)
		}
		if !bytes.Equal(dst.mem, want) {
			rt.Fatal("the bytes are wrong")
		}
	})
}

// TestPassed: a copy goes on that was ended in the middle of a zone, after its state was
// saved.
func TestPassed(t *testing.T) {
	for name, tc := range map[string]struct {
		at    [2]int64 // how far zones 2 and 3 are written
		wrong int64    // byte of the destination that is
		left  string
		there string
		says  string
	}{
		"nothing":              {[2]int64{}, -1, "[{0 32768 16384} {16384 49152 4096}]", "[]", ""},
		"in the first zone":    {[2]int64{4096, 0}, -1, "[{4096 36864 12288} {16384 49152 4096}]", "[{0 32768 4096}]", ""},
		"in the second":        {[2]int64{testZone, 512}, -1, "[{16896 49664 3584}]", "[{0 32768 16384} {16384 49152 512}]", ""},
		"all":                  {[2]int64{testZone, 4096}, -1, "[]", "[{0 32768 16384} {16384 49152 4096}]", ""},
		"something else":       {[2]int64{4096, 0}, 700, "", "", "holds something else at byte 33468"},
		"beyond what is meant": {[2]int64{testZone, 8192}, -1, "[]", "[{0 32768 16384} {16384 49152 4096}]", ""},
	} {
		t.Run(name, func(t *testing.T) {
			src, dst := newDisk("src", 0), newDisk("dst", testZone)
			for i := range src.mem {
				src.mem[i] = byte(i*7 + i>>9)
			}
			ranges := []byterange.Range{{Src: 0, Dst: 2 * testZone, Len: testZone + 4096}}
			r := zonedRun(t, src, dst, ranges...)
			copy(dst.mem[2*testZone:], src.mem[:testZone+4096])
			if tc.wrong >= 0 {
				dst.mem[2*testZone+tc.wrong] ^= 1
			}
			dst.at[2], dst.at[3] = tc.at[0], tc.at[1]
			left, there, err := r.zones.Passed(t.Context(), ranges)
			if tc.says != "" {
				if !errors.Is(err, failure.ErrRefused) || !strings.Contains(err.Error(), tc.says) {
					t.Errorf("%v", err)
				}
				return
			}
			if err != nil || fmt.Sprint(left) != tc.left || fmt.Sprint(there) != tc.there {
				t.Errorf("%v, %v, %v", left, there, err)
			}
		})
	}
}

// A zone that fails ends the copy with the error of the device, and nothing is written behind
// it: the pointer of some disks has gone on.
func TestCopyToZoneFails(t *testing.T) {
	src, dst := newDisk("src", 0), newDisk("dst", testZone)
	for i := range src.mem {
		src.mem[i] = 1
	}
	failing := &onceBroken{disk: dst, at: 3 * testZone}
	_, err := New(nil).Copy(t.Context(), Job{
		Src: ends.Endpoint{Name: "src", Device: src}, Dst: ends.Endpoint{Name: "dst", Device: failing, Zones: dst}, Ranges: []byterange.Range{{Src: 0, Dst: 2 * testZone, Len: 5 * testZone}},
	}, Options{})
	if !errors.Is(err, errPointer) || !errors.Is(err, emulation.ErrStopped) {
		t.Error(err)
	}
	if failing.after > 0 || !bytes.Equal(dst.mem[3*testZone:], make([]byte, 5*testZone)) {
		t.Errorf("%d writes follow the one that failed", failing.after)
	}
}

// onceBroken fails the first write from a place on.
type onceBroken struct {
	*disk
	at    int64
	after int // writes that came later
	done  bool
}

func (b *onceBroken) WriteAt(p []byte, off int64) (int, error) {
	if b.done {
		b.after++
	} else if off >= b.at {
		b.done = true
		return 0, errPointer
	}
	return b.disk.WriteAt(p[:min(int64(len(p)), testZone-off%testZone)], off)
}
