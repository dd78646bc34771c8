package bcache

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dmcopy/dmcopy/remap"
)

const testUUID = "6b1a9d4c-11aa-4b22-8c33-0123456789ab"

var bcache0 = remap.Dev{Major: 251}

// clean is a device on sdb with a clean cache on sdc, without its superblock.
func clean() *Device {
	backing := remap.Dev{Major: 8, Minor: 16}
	return &Device{
		Dev: bcache0, Name: "bcache0", Size: 2048, Attached: true,
		Backing: &Backing{Dev: backing, Name: "sdb", Size: 2064},
		Lower:   []remap.Dev{backing, {Major: 8, Minor: 32}},
		Attrs: map[string]string{
			"state": "clean", "cache_mode": "[writethrough] writeback writearound none", "dirty_data": "0.0k", "running": "1",
			"io_disable": "0", "io_errors": "0", "backing_dev_name": "sdb", "backing_dev_uuid": testUUID,
		},
	}
}

// apply changes a device as one line of testdata/devices.txt says.
func apply(d *Device, line string) error {
	what, value, _ := strings.Cut(line, " ")
	switch what {
	case "size":
		_, err := fmt.Sscan(value, &d.Size)
		return err
	case "detached":
		d.Attached, d.Lower = false, d.Lower[:1]
	case "flash":
		d.Backing, d.Attrs = nil, nil
	case "backing":
		return applyBacking(d, strings.Fields(value))
	case "super":
		d.Super = &Super{UUID: testUUID}
		offset, uuid, given := strings.Cut(value, " uuid=")
		if given {
			d.Super.UUID = uuid
		}
		_, err := fmt.Sscanf(offset, "offset=%d", &d.Super.Offset)
		return err
	default:
		if _, known := d.Attrs[what]; !known {
			return fmt.Errorf("no file %q", what)
		}
		d.Attrs[what] = value
	}
	return nil
}

func applyBacking(d *Device, words []string) (err error) {
	if d.Backing.Dev, err = remap.ParseDev(words[0]); err != nil {
		return err
	}
	d.Backing.Name, d.Attrs["backing_dev_name"], d.Lower[0] = words[1], words[1], d.Backing.Dev
	d.Backing.Size, err = remap.ParseSector(words[2])
	return err
}

// store writes a device below a root as sysfs has it.
func store(t testing.TB, root string, d *Device) {
	t.Helper()
	write := func(path, text string) {
		path = filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	link := func(path, target string) {
		path = filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(filepath.Join(root, target), path); err != nil {
			t.Fatal(err)
		}
	}
	disk := "sys/devices/virtual/block/" + d.Name
	write(disk+"/size", fmt.Sprint(int64(d.Size)))
	link("sys/dev/block/"+d.Dev.String(), disk)
	for i, dev := range d.Lower {
		lower := fmt.Sprintf("sys/devices/pci0/block/lower%d", i)
		if d.Backing != nil && dev == d.Backing.Dev {
			lower = "sys/devices/pci0/block/" + d.Backing.Name
			write(lower+"/size", fmt.Sprint(int64(d.Backing.Size)))
		}
		write(lower+"/dev", dev.String())
		link(disk+"/slaves/"+filepath.Base(lower), lower)
	}
	if d.Backing == nil {
		write(disk+"/bcache/size", "1.0M")
		return
	}
	dir := "sys/devices/pci0/block/" + d.Backing.Name + "/bcache"
	for name, text := range maps.All(d.Attrs) {
		write(dir+"/"+name, text)
	}
	if d.Attached {
		link(dir+"/cache", "sys/fs/bcache/set")
	}
	link(disk+"/bcache", dir)
}
