// Package mdraidtest builds what sysfs has of md arrays, for tests.
package mdraidtest

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// Array is an array in sysfs.
type Array struct {
	// Name and Dev are those of the array, "md0" and "9:0".
	Name, Dev string
	// Size is the capacity in sectors.
	Size int64
	// Attrs are the files of its directory md.
	Attrs   map[string]string
	Members []*Member
}

// Member is a member of an array in sysfs.
type Member struct {
	Name, Dev string
	Attrs     map[string]string
}

// New is a clean array of so many disks, named sda, sdb, … with numbers 8:0,
// 8:1, …, of which each has so many sectors behind an offset of 2048. The caller
// sets layout, chunk_size and Size.
func New(level string, disks int, sectors int64) *Array {
	a := &Array{Name: "md0", Dev: "9:0", Attrs: map[string]string{
		"level": level, "layout": "0", "chunk_size": "65536", "raid_disks": fmt.Sprint(disks),
		"component_size": fmt.Sprint(sectors / 2), "array_size": "default", "array_state": "clean", "metadata_version": "1.2",
		"reshape_position": "none", "resync_start": "none", "uuid": "6b1a9d4c-0000-0000-0000-000000000001",
		"consistency_policy": "resync", "sync_action": "idle", "degraded": "0", "suspend_lo": "0", "suspend_hi": "0",
		"bitmap/location": "none", "bitmap/metadata": "internal",
	}}
	switch level {
	case "raid0", "linear":
		a.Attrs["component_size"], a.Attrs["consistency_policy"] = "0", "none"
		for _, attr := range []string{"sync_action", "degraded", "suspend_lo", "suspend_hi"} {
			delete(a.Attrs, attr)
		}
	case "raid1":
		a.Attrs["chunk_size"] = "0"
	}
	for slot := range disks {
		a.Add(string(rune('a'+slot)), slot, sectors)
	}
	return a
}

// Add adds the member sdLETTER in a slot; -1 is for spares.
func (a *Array) Add(letter string, slot int, sectors int64) *Member {
	m := &Member{Name: "sd" + letter, Dev: fmt.Sprintf("8:%d", letter[0]-'a'), Attrs: map[string]string{
		"state": "in_sync", "slot": fmt.Sprint(slot), "offset": "2048", "new_offset": "2048", "size": fmt.Sprint(sectors / 2),
		"recovery_start": "none", "bad_blocks": "", "unacknowledged_bad_blocks": "",
	}}
	if slot < 0 {
		m.Attrs["state"], m.Attrs["slot"], m.Attrs["recovery_start"] = "spare", "none", "0"
	}
	a.Members = append(a.Members, m)
	return m
}

// Member returns the member of that name, nil for none.
func (a *Array) Member(name string) *Member {
	for _, m := range a.Members {
		if m.Name == name {
			return m
		}
	}
	return nil
}

// Parse makes an array of lines. The first one is
//
//	LEVEL DISKS SECTORS SIZE [KEY=VALUE…]
//
// with files of the array to change, the others are
//
//	sdX [-] [KEY=VALUE…]
//
// with files of a member to change, which is added if it is not there yet; "-"
// takes it away. In values, \n stands for a new line and \s for a space; a value
// of "-" removes the file.
func Parse(lines []string) (*Array, error) {
	words := strings.Fields(lines[0])
	if len(words) < 4 {
		return nil, fmt.Errorf("%q is no array", lines[0])
	}
	var numbers [3]int64
	for i := range numbers {
		n, err := strconv.ParseInt(words[i+1], 10, 64)
		if err != nil || i == 0 && (n < 0 || n > 20) {
			return nil, fmt.Errorf("%q is no array: %v", lines[0], err)
		}
		numbers[i] = n
	}
	a := New(words[0], int(numbers[0]), numbers[1])
	a.Size = numbers[2]
	if err := change(a.Attrs, words[4:]); err != nil {
		return nil, err
	}
	for _, line := range lines[1:] {
		if err := a.changeMember(strings.Fields(line), numbers[1]); err != nil {
			return nil, err
		}
	}
	return a, nil
}

func (a *Array) changeMember(words []string, sectors int64) error {
	if len(words) == 0 || len(words[0]) != 3 || words[0][0] != 's' || words[0][1] != 'd' {
		return fmt.Errorf("%q is no member", words)
	}
	m := a.Member(words[0])
	if len(words) > 1 && words[1] == "-" {
		a.Members = slices.DeleteFunc(a.Members, func(other *Member) bool { return other == m })
		return nil
	}
	if m == nil {
		m = a.Add(words[0][2:], -1, sectors)
	}
	for _, word := range words[1:] {
		if dev, ok := strings.CutPrefix(word, "dev="); ok {
			m.Dev = dev
			continue
		}
		if err := change(m.Attrs, []string{word}); err != nil {
			return err
		}
	}
	return nil
}

func change(attrs map[string]string, words []string) error {
	for _, word := range words {
		key, value, ok := strings.Cut(word, "=")
		if !ok || key == "" {
			return fmt.Errorf("%q changes nothing", word)
		}
		if value == "-" {
			delete(attrs, key)
			continue
		}
		attrs[key] = strings.NewReplacer(`\n`, "\n", `\s`, " ").Replace(value)
	}
	return nil
}

// Write writes the files of the array through set, which gets their names
// relative to the directory of the block device.
func (a *Array) Write(set func(name, value string)) {
	for _, name := range slices.Sorted(maps.Keys(a.Attrs)) {
		set("md/"+name, a.Attrs[name])
	}
	for _, m := range a.Members {
		for _, name := range slices.Sorted(maps.Keys(m.Attrs)) {
			set("md/dev-"+m.Name+"/"+name, m.Attrs[name])
		}
		if m.Dev != "" {
			set("md/dev-"+m.Name+"/block/dev", m.Dev)
		}
	}
}

// Tree writes the array, alone, below a root directory.
func (a *Array) Tree(t testing.TB, root string) {
	t.Helper()
	disk := filepath.Join(root, "sys/devices/virtual/block", a.Name)
	if err := os.RemoveAll(disk); err != nil {
		t.Fatal(err)
	}
	set := func(name, value string) {
		t.Helper()
		path := filepath.Join(disk, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if value != "" {
			value += "\n"
		}
		if err := os.WriteFile(path, []byte(value), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	a.Write(set)
	set("size", fmt.Sprint(a.Size))
	link := filepath.Join(root, "sys/dev/block", a.Dev)
	if err := os.MkdirAll(filepath.Dir(link), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(disk, link); err != nil && !os.IsExist(err) {
		t.Fatal(err)
	}
}
