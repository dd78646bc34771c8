package live

import (
	"testing"

	"github.com/dmcopy/dmcopy/test/vm"
)

// group makes a volume group on disks that held other things before, gone with the test.
func group(t *testing.T, name string, disks ...string) {
	t.Helper()
	for _, d := range disks {
		clean(t, d)
	}
	vm.GroupOf(t, name, "1m", disks...)
}
