// Package nice has copies give way to a reader of the same disk, on a real kernel.
package nice

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os/exec"
	"slices"
	"testing"
	"time"

	"github.com/dmcopy/dmcopy/internal/blockio"
	"github.com/dmcopy/dmcopy/internal/dispatch/account"
	"github.com/dmcopy/dmcopy/test/vm"
)

const mib = 1 << 20

var leaf = vm.Disk{Serial: "leaf", Size: 512 * mib, Copy: vm.CopyLimits{MSSRL: 2048, MCL: 4096, MSRC: 127}}

func TestMain(m *testing.M) {
	vm.Main(m, vm.Machine{
		Cmdline:  "loglevel=3",
		Programs: []string{"github.com/dmcopy/dmcopy/cmd/dmcopy"},
		Disks:    []vm.Disk{leaf},
	})
}

// Copies take some seconds, and at the lowest rate that others are given way to by half
// a minute. Each is of many windows.
const (
	size  = 32 * mib
	speed = 48 * mib // of the disk, in bytes a second
	rate  = "--rate=8M"
)

func newVolumes(t *testing.T) {
	t.Helper()
	vm.Run(t, "vgcreate", "-q", "vg", vm.Device(t, leaf))
	t.Cleanup(func() { vm.Run(t, "vgremove", "-q", "-f", "vg") })
	for _, lv := range []string{"src", "dst", "other"} {
		vm.Run(t, "lvcreate", "-q", "-W", "n", "-L", fmt.Sprintf("%dm", size/mib), "-n", lv, "vg")
	}
	vm.Stamp(t, "/dev/vg/src", 1, 0, size)
}

// reader reads blocks of 4 KiB all over a volume, one after the other.
type reader struct {
	t    *testing.T
	stop chan struct{}
	took chan []time.Duration
}

// thinks is how long the reader does something else between two reads.
const thinks = 5 * time.Millisecond

func newReader(t *testing.T) *reader {
	t.Helper()
	file, err := blockio.Open("/dev/vg/other", 0)
	if err != nil {
		t.Fatal(err)
	}
	pool, err := blockio.NewPool(1, 4096)
	if err != nil {
		t.Fatal(err)
	}
	buffer, err := pool.Get(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	r := &reader{t: t, stop: make(chan struct{}), took: make(chan []time.Duration)}
	go func() {
		defer file.Close()
		r.took <- r.loop(file, buffer)
	}()
	return r
}

func (r *reader) loop(file *blockio.File, buffer []byte) (took []time.Duration) {
	for i := int64(0); ; i++ {
		select {
		case <-r.stop:
			return took
		case <-time.After(thinks):
		}
		began := time.Now()
		if _, err := file.Pread(buffer, i*7919%(size/4096)*4096); err != nil {
			r.t.Error(err)
			return took
		}
		took = append(took, time.Since(began))
	}
}

// end says how long the reads took: half of them, and all but one in a hundred.
func (r *reader) end() string {
	close(r.stop)
	took := <-r.took
	if len(took) == 0 {
		r.t.Fatal("nothing was read")
	}
	slices.Sort(took)
	return fmt.Sprintf("%d reads, half of them within %v, 99 %% within %v", len(took), took[len(took)/2], took[len(took)*99/100])
}

// copied copies, with a reader beside it if there is to be one, and fails the test
// unless all of it is there.
func copied(t *testing.T, beside bool, flags ...string) account.Report {
	t.Helper()
	vm.Stamp(t, "/dev/vg/dst", 2, 0, size)
	vm.Settle(t) // nobody else shall look at it
	cmd := exec.Command("dmcopy", append(append([]string{"copy", "--json"}, flags...), "/dev/vg/src", "/dev/vg/dst")...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	var report account.Report
	var r *reader
	if beside {
		r = newReader(t)
	}
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v: %s", err, errs.String())
	}
	said := ""
	if beside {
		said = r.end()
	}
	if err := json.Unmarshal(out.Bytes(), &report); err != nil {
		t.Fatal(err)
	}
	t.Logf("%v: %.1f s, %d windows, %d backoffs; %s", flags, report.Seconds, report.Windows, report.Backoffs, said)
	vm.CheckStamp(t, "/dev/vg/dst", 1, 0, 0, size)
	return report
}

// tries is how often something may come in between that is no part of a test: the guest
// itself uses its disks, and a reader can be kept from reading.
const tries = 3

// TestNice: with somebody else on the disk, a copy that must not disturb at all backs
// off, and ends nevertheless; without, it does not. What the bound that is found out
// comes to is logged.
func TestNice(t *testing.T) {
	newVolumes(t)
	vm.Slowly(t, leaf, speed)
	for _, way := range []string{"auto", "never"} {
		t.Run("offload "+way, func(t *testing.T) {
			once(t, "goes on as if somebody were there", func() bool { return copied(t, false, rate, "--offload", way, "--nice").Backoffs == 0 })
			if rep := copied(t, true, rate, "--offload", way); rep.Backoffs > 0 {
				t.Errorf("nobody has asked for it: %+v", rep)
			}
			copied(t, true, rate, "--offload", way, "--nice")
			once(t, "gives way to nobody", func() bool { return copied(t, true, rate, "--offload", way, "--nice=1us").Backoffs > 0 })
		})
	}
	r := newReader(t)
	time.Sleep(2 * time.Second)
	t.Log("nothing else: " + r.end())
}

// once fails unless something is so once.
func once(t *testing.T, what string, is func() bool) {
	t.Helper()
	for range tries {
		if is() {
			return
		}
	}
	t.Errorf("a copy %s, %d times in a row", what, tries)
}
