package soak

import (
	"os"
	"path/filepath"
	"testing"
)

// cgroup is a group of processes that can be frozen.
type cgroup struct{ dir *os.File }

func newCgroup(t *testing.T, path string) *cgroup {
	if err := os.Mkdir(path, 0o755); err != nil {
		t.Fatal(err)
	}
	dir, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dir.Close() })
	return &cgroup{dir}
}

// freeze freezes the group, or lets it go on (Documentation/admin-guide/cgroup-v2.rst, cgroup.freeze).
func (c *cgroup) freeze(t *testing.T, frozen bool) func() {
	state := map[bool]string{false: "0", true: "1"}[frozen]
	return func() {
		if err := os.WriteFile(filepath.Join(c.dir.Name(), "cgroup.freeze"), []byte(state), 0); err != nil {
			t.Fatal(err)
		}
	}
}
