package target

import (
	"bytes"
	"context"
	"testing"

	"github.com/dmcopy/dmcopy/copydomain/scsi"
)

// What was written is lost with the power, unless the cache was synchronized.
func TestCache(t *testing.T) {
	c := NewCache(8 * sectorBytes)
	made, err := New(Config{Disks: []Disk{{Blocks: 8, BlockSize: 512, Backing: c}}})
	if err != nil {
		t.Fatal(err)
	}
	execute := func(cdb []byte, out []byte) {
		t.Helper()
		for range 2 { // the first one hears of the power
			if r := made.Execute(context.Background(), &Command{Nexus: "n", CDB: cdb, Out: out}); r.Status == scsi.Good {
				return
			}
		}
		t.Fatalf("% x failed", cdb)
	}
	write := func(lba, value byte) {
		execute([]byte{0x2A, 0, 0, 0, 0, lba, 0, 0, 1, 0}, bytes.Repeat([]byte{value}, sectorBytes))
	}
	holds := func() (values [8]byte) {
		p := make([]byte, 8*sectorBytes)
		if err := made.Bytes(0, p, 0); err != nil {
			t.Fatal(err)
		}
		for i := range values {
			values[i] = p[i*sectorBytes]
		}
		return values
	}
	write(0, 1)
	write(1, 1)
	execute([]byte{0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0}, nil)
	write(1, 2)
	write(1, 3)
	write(2, 3)
	write(3, 3)
	if got, want := holds(), ([8]byte{1, 3, 3, 3}); got != want {
		t.Errorf("%v is read, want %v", got, want)
	}
	if n := c.LosePower(func(sector int64) bool { return sector == 3 }); n != 2 {
		t.Errorf("%d sectors were lost", n)
	}
	if got, want := holds(), ([8]byte{1, 1, 0, 3}); got != want {
		t.Errorf("%v is left, want %v", got, want)
	}
	if n := c.LosePower(func(int64) bool { return false }); n != 0 {
		t.Errorf("%d sectors were lost twice", n)
	}
}
