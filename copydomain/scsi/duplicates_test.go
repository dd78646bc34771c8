package scsi

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/dmcopy/dmcopy/internal/sysfs"
)

func TestSameIdentity(t *testing.T) {
	root := t.TempDir()
	sys := filepath.Join(root, "sys")
	write := func(path, text string) {
		t.Helper()
		path = filepath.Join(sys, "block", path)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	for name, d := range map[string]struct {
		wwid    string
		holders []string
	}{
		"sda":    {"naa.1", nil},
		"sdb":    {"naa.2", []string{"dm-0"}},
		"sdc":    {"naa.2", []string{"dm-0"}},
		"sdd":    {"naa.3", []string{"dm-1", "dm-0"}},
		"sdaa":   {"naa.3", []string{"dm-2"}},
		"sdab":   {"naa.3", []string{"dm-1"}},
		"sde":    {"naa.4", []string{"dm-1"}},
		"sdf":    {"naa.4", []string{"dm-1"}},
		"sdg":    {"naa.5", nil},
		"sdh":    {"naa.5", []string{"dm-0"}},
		"vda":    {"naa.1", nil},
		"sr0":    {"naa.1", nil},
		"nvme0":  {"naa.1", nil},
		"sdi":    {"", nil},
		"sdj":    {"", nil},
		"sdk-p1": {"naa.1", nil},
	} {
		write(name+"/device/wwid", d.wwid+"\n")
		write(name+"/holders/.keep", "")
		if err := os.Remove(filepath.Join(sys, "block", name, "holders/.keep")); err != nil {
			t.Fatal(err)
		}
		for _, h := range d.holders {
			write(name+"/holders/"+h, "")
		}
	}
	write("dm-0/dm/uuid", "mpath-naa.2\n")
	write("dm-1/dm/uuid", "LVM-xyz\n")
	write("dm-2/dm/uuid", "mpath-naa.3\n")
	for name, want := range map[string]string{
		"sda": "{[] []}", "sdb": "{[sdc] []}", "sdc": "{[sdb] []}",
		"sdd": "{[] [sdaa sdab]}", "sdaa": "{[] [sdab sdd]}",
		"sde": "{[] [sdf]}", "sdg": "{[] [sdh]}", "sdh": "{[] [sdg]}",
		"sdi": "{[] []}",
	} {
		if got, err := sameIdentityIn(sysfs.Root(root), name); err != nil || fmt.Sprint(got) != want {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	for name, want := range map[string]error{"sdz": fs.ErrNotExist, "sg0": ErrNotSCSI, "../sda": ErrNotSCSI, "sda1": ErrNotSCSI, "": ErrNotSCSI} {
		if got, err := sameIdentityIn(sysfs.Root(root), name); !errors.Is(err, want) {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
}
