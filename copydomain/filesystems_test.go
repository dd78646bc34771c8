package copydomain

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/dmcopy/dmcopy/internal/sysfs"
)

func TestSharingMounts(t *testing.T) {
	const mounts = `22 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw
30 22 0:40 / /a\040b rw,relatime - btrfs /dev/vdb rw,space_cache=v2
31 22 254:2 / /back\134slash rw,relatime shared:3 master:1 - xfs /dev/vdc rw
32 22 0:52 / /n rw - nfs4 server:/xfs rw,vers=4.2
33 22 0:53
34 22 0:54 / /short rw - btrfs
`
	understood, err := sysfs.ParseMounts(strings.NewReader(mounts))
	if !errors.Is(err, sysfs.ErrValue) {
		t.Error(err)
	}
	if got, want := sharingMounts(understood), []string{"/a b", `/back\slash`}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestFileSystemOf(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	ofFile, ofDir := FileSystemOf(file), FileSystemOf(filepath.Dir(file))
	if ofFile.Type == "" || ofFile.Domain == "" || (ofFile.Method == "") != (ofFile.Reason != "") || ofFile.Path != file {
		t.Errorf("%+v", ofFile)
	}
	if ofDir.Path = file; ofDir != ofFile {
		t.Errorf("%+v of the directory, %+v of the file", ofDir, ofFile)
	}
	for path, want := range map[string]string{"/dev/null": "domain:file-unreachable", file + "x": "domain:file-unreachable"} {
		if f := FileSystemOf(path); string(f.Reason) != want || f.Method != "" || f.Domain != "" || f.Detail == "" {
			t.Errorf("%s: %+v", path, f)
		}
	}
}
