package resume

import (
	"bytes"
	"io"
	"os"
	"slices"
	"testing"

	"github.com/dmcopy/dmcopy/internal/dispatch/account"
	"github.com/dmcopy/dmcopy/test/vm"
)

// TestBadSectors: sectors that the disk cannot read, in a copy by the disk itself
// and in one through the host, are listed and become zeroes; when they can be
// read again, the same command copies them, and nothing else.
func TestBadSectors(t *testing.T) {
	disk := vm.Device(t, leaf)
	bad := []int64{4000, 4001, 50000, size/512 - 1}
	for name, flags := range map[string][]string{"offloaded": nil, "host": {"--offload", "never"}} {
		t.Run(name, func(t *testing.T) {
			src, dst := vm.Linear(t, "src", disk, 0, size), vm.Linear(t, "dst", disk, size, size)
			vm.Stamp(t, src, 1, 0, size)
			vm.Stamp(t, dst, 2, 0, size)
			want := whole(t, src)
			var faults []vm.Fault
			for _, sector := range bad {
				clear(want[sector*512:][:512])
				faults = append(faults, vm.Fault{IOType: "read", Sector: sector})
			}
			if err := vm.SetFaults(leaf, faults...); err != nil {
				t.Fatal(err)
			}
			j := newJob(t, src, dst, size, append(flags, "--on-error", "continue")...)
			report, says, code := j.end(t)
			if err := vm.SetFaults(leaf); err != nil {
				t.Fatal(err)
			}
			if code != 3 || report.Result != account.OutcomeIncomplete || report.Failed != 4*512 {
				t.Fatalf("exit code %d: %s%+v", code, says, report)
			}
			if name == "offloaded" && report.Offloaded == 0 {
				t.Errorf("%+v", report)
			}
			places := [][2]int64{{4000 * 512, 1024}, {50000 * 512, 512}, {size - 512, 512}}
			for _, b := range report.Bad {
				if i := slices.Index(places, [2]int64{b.Src, b.Len}); i < 0 || b.Src != b.Dst || len(report.Bad) != len(places) {
					t.Errorf("%+v", report.Bad)
				}
			}
			if !bytes.Equal(whole(t, dst), want) {
				t.Error("the copy is not the source with zeroes where it is unreadable")
			}
			again := j.complete(t)
			if again.Offloaded+again.Host != 4*512 {
				t.Errorf("%+v", again)
			}
		})
	}
}

func whole(t *testing.T, device string) []byte {
	t.Helper()
	f, err := os.Open(device)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	data := make([]byte, size)
	if _, err := io.ReadFull(f, data); err != nil {
		t.Fatal(err)
	}
	return data
}
