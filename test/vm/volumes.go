package vm

import (
	"fmt"
	"testing"
)

// Group makes a volume group on disks, gone with the test.
func Group(t testing.TB, name string, disks ...string) {
	t.Helper()
	GroupOf(t, name, "4m", disks...)
}

// GroupOf is Group with the size of an extent, as LVM takes it.
func GroupOf(t testing.TB, name, extent string, disks ...string) {
	t.Helper()
	Run(t, "vgcreate", append([]string{"-y", "-s", extent, name}, disks...)...)
	t.Cleanup(func() {
		for _, args := range [][]string{{"vgremove", "-ff", "-y", name}, append([]string{"pvremove", "-ff", "-y"}, disks...)} {
			if _, err := TryRun(args[0], args[1:]...); err != nil {
				t.Error(err)
			}
		}
	})
}

// Volume makes a logical volume of size bytes, gone with its group, and returns its path. What it held is left as it was.
func Volume(t testing.TB, group, name string, size int64, args ...string) string {
	t.Helper()
	return VolumeOf(t, group, name, append([]string{"-L", fmt.Sprintf("%db", size)}, args...)...)
}

// VolumeOf is Volume by the words of lvcreate.
func VolumeOf(t testing.TB, group, name string, args ...string) string {
	t.Helper()
	Run(t, "lvcreate", append([]string{"-y", "-Wn", "-Zn", "-n", name, group}, args...)...)
	return "/dev/" + group + "/" + name
}
