package inuse

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/dmcopy/dmcopy/internal/sysfs"
)

// TestLayers: as kernels show their names.
func TestLayers(t *testing.T) {
	root := t.TempDir()
	for options, want := range map[string][]string{
		"rw,lowerdir=/a:/b,upperdir=/u,workdir=/w":                {"/a", "/b", "/u"},
		`rw,lowerdir=/with\072colon:/b`:                           {"/with:colon", "/b"},
		`rw,lowerdir=/an\134:other:/b`:                            {"/an:other", "/b"},
		`rw,lowerdir+=/a\040b,lowerdir+=/c\054d,datadir+=/x,xino`: {"/a b", "/c,d", "/x"},
		"rw,lowerdir=/a::/data":                                   {"/a", "/data"},
		"rw,lowerdir=l/relative:/gone":                            nil,
	} {
		for _, dir := range want {
			if err := os.MkdirAll(filepath.Join(root, dir), 0o700); err != nil {
				t.Fatal(err)
			}
		}
		got := overlays{sysfs.Root(root)}.layers(&sysfs.Mount{Options: options})
		if len(got) != len(want) {
			t.Errorf("%s: %d layers, want %v", options, len(got), want)
			continue
		}
		for i, dir := range want {
			if info, err := os.Stat(filepath.Join(root, dir)); err != nil || !os.SameFile(info, got[i]) {
				t.Errorf("%s: layer %d is not %s, %v", options, i, dir, err)
			}
		}
	}
}
