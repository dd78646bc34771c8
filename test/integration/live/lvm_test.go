package live

import (
	"fmt"
	"testing"

	"github.com/dmcopy/dmcopy/test/vm"
)

// group makes a volume group on the disk, gone with the test.
func group(t *testing.T, name string, disks ...string) {
	t.Helper()
	for _, d := range disks {
		clean(t, d)
	}
	vm.Run(t, "vgcreate", append([]string{"-y", "-qq", "-s", "1m", name}, disks...)...)
	t.Cleanup(func() {
		for _, args := range [][]string{{"vgremove", "-ff", "-y", "-qq", name}, append([]string{"pvremove", "-ff", "-y", "-qq"}, disks...)} {
			if _, err := vm.TryRun(args[0], args[1:]...); err != nil {
				t.Error(err)
			}
		}
	})
}

// volume makes a logical volume and returns its path.
func volume(t *testing.T, group, name string, size int64, args ...string) string {
	t.Helper()
	vm.Run(t, "lvcreate", append([]string{"-y", "-qq", "-Wn", "-Zn", "-n", name, "-L", fmt.Sprintf("%db", size), group}, args...)...)
	return "/dev/" + group + "/" + name
}
