package sysblock_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/dmcopy/dmcopy/internal/sysblock"
	"github.com/dmcopy/dmcopy/internal/sysblock/sysblocktest"
	"github.com/dmcopy/dmcopy/remap"
)

func TestLookup(t *testing.T) {
	m := sysblocktest.New(t)
	m.NVMe(0, 1, "259:0", 2048)
	m.Part("nvme0n1", "nvme0n1p1", "259:1", 1, 8, 8)
	m.Mapped("dm-3", "253:3", "vg-home", 8, "nvme0n1")
	m.Mapped("dm-4", "253:4", "my--vg-my--lv", 8, "nvme0n1")
	m.Mapped("dm-5", "253:5", "luks", 8, "nvme0n1")
	m.Mapped("dm-6", "253:6", `my\x20disk\x5cx41`, 8, "nvme0n1")
	m.Mapped("dm-7", "253:7", "raw name", 8, "nvme0n1")
	m.File("dev/plain", "x")
	m.File("dev/somewhere/x", "x")
	t.Chdir(t.TempDir())
	for _, dir := range []string{"luks", "only-dir"} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, dev := range map[string]string{
		"259:0": "nvme0n1", "nvme0n1": "nvme0n1", "nvme0n1p1": "nvme0n1p1", "dm-3": "dm-3",
		"vg-home": "dm-3", "vg/home": "dm-3", "my-vg/my-lv": "dm-4", "my--vg-my--lv": "dm-4",
		"luks": "dm-5", // a directory of that name is no rival
		// As the kernel has them, and as dmsetup shows them.
		`my\x20disk\x5cx41`: "dm-6", `my disk\x41`: "dm-6", `/dev/mapper/my disk\x41`: "dm-6", "raw name": "dm-7", "/dev/mapper/vg-home": "dm-3",
	} {
		got, err := m.FS().Lookup(name)
		if err != nil || got != m.Dev(dev) {
			t.Errorf("%s: %v, %v; want %v", name, got, err, m.Dev(dev))
		}
	}
	for name, want := range map[string]error{
		"":                sysblock.ErrNotFound,
		"nvme9n1":         sysblock.ErrNotFound,
		"259:7":           sysblock.ErrNotFound,
		"vg/none":         sysblock.ErrNotFound,
		"/dev/none":       sysblock.ErrNotFound,
		"my disk":         sysblock.ErrNotFound,
		`my disk\x5cx41`:  sysblock.ErrNotFound, // half of it
		"my diskA":        sysblock.ErrNotFound, // decoded twice
		"./nvme0n1":       sysblock.ErrNotFound,
		"/dev/plain":      sysblock.ErrRegularFile,
		"/dev/somewhere":  sysblock.ErrNotBlock,
		"/dev/plain/more": sysblock.ErrNotFound,
		"only-dir":        sysblock.ErrNotBlock,
	} {
		if dev, err := m.FS().Lookup(name); !errors.Is(err, want) {
			t.Errorf("%q: %v, %v; want %v", name, dev, err, want)
		}
	}
	_, err := m.FS().Lookup("vg/none")
	for _, tried := range []string{"vg/none", "/dev/vg/none", "vg-none"} {
		if !strings.Contains(err.Error(), tried) {
			t.Errorf("%v does not tell that %s was tried", err, tried)
		}
	}
	if _, err := m.FS().Lookup("/dev/plain"); !strings.Contains(err.Error(), "regular file") {
		t.Error(err)
	}
}

// A name that means two things is never guessed.
// A mapped device that is being removed, whose attributes fail with EINVAL, is no concern
// of others.
func TestLeavingBeside(t *testing.T) {
	// The loopback interface has no speed, and says so in this way (net/core/net-sysfs.c, speed_show).
	const invalid = "/sys/class/net/lo/speed"
	if _, err := os.ReadFile(invalid); !errors.Is(err, syscall.EINVAL) {
		t.Fatalf("%s is to fail with EINVAL: %v", invalid, err)
	}
	m := sysblocktest.New(t)
	m.NVMe(0, 1, "259:0", 2048)
	m.Mapped("dm-3", "253:3", "leaving", 8, "nvme0n1")
	m.Mapped("dm-4", "253:4", "home", 8, "nvme0n1")
	for _, attr := range []string{"dm/name", "dm/uuid"} {
		m.Unset("dm-3", attr)
		if err := os.Symlink(invalid, filepath.Join("/", string(m.FS()), "sys/class/block/dm-3", attr)); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := m.FS().Lookup("/dev/mapper/home"); err != nil || got != m.Dev("dm-4") {
		t.Errorf("%v, %v", got, err)
	}
	if id, err := m.FS().Identity(m.Dev("dm-3")); !errors.Is(err, sysblock.ErrGone) {
		t.Errorf("%q, %v", id, err)
	}
}

func TestLookupAmbiguous(t *testing.T) {
	m := sysblocktest.New(t)
	m.Disk("sda", "8:0", 8)
	m.Mapped("dm-0", "253:0", "sda", 8)
	m.Mapped("dm-1", "253:1", "vg-home", 8)
	m.Mapped("dm-2", "253:2", "dm-2", 8)
	m.Mapped("dm-3", "253:3", "two words", 8)
	m.Mapped("dm-4", "253:4", `two\x20words`, 8)
	dir := t.TempDir()
	t.Chdir(dir)
	for _, file := range []string{"vg/home", "dm-1"} {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"sda", "vg/home", "dm-1", "two words"} {
		if dev, err := m.FS().Lookup(name); !errors.Is(err, sysblock.ErrAmbiguous) {
			t.Errorf("%s: %v, %v", name, dev, err)
		}
	}
	// Two names of one device are no rivals.
	if dev, err := m.FS().Lookup("dm-2"); err != nil || dev != (remap.Dev{Major: 253, Minor: 2}) {
		t.Errorf("dm-2: %v, %v", dev, err)
	}
}
