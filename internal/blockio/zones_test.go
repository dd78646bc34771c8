package blockio

import (
	"errors"
	"slices"
	"testing"
)

func TestParseZones(t *testing.T) {
	conventional := zoneDescriptor{Len: 64, Type: zoneConventional}
	empty := zoneDescriptor{Start: 64, Len: 64, Pointer: 64, Type: zoneSequential, Cond: condEmpty, Capacity: 50}
	open := zoneDescriptor{Start: 128, Len: 64, Pointer: 130, Type: zoneSequential, Cond: 2, Capacity: 50}
	full := zoneDescriptor{Start: 192, Len: 64, Pointer: ^uint64(0), Type: zoneSequential, Cond: condFull, Capacity: 50}
	offline := zoneDescriptor{Start: 256, Len: 64, Pointer: ^uint64(0), Type: zoneSequential, Cond: 0xF, Capacity: 50}

	got, err := parseZones(&zoneHeader{Zones: 4, Flags: hasCapacity}, []zoneDescriptor{empty, open, full, offline}, 70*512)
	want := []Zone{
		{64 * 512, 64 * 512, 50 * 512, true, 64 * 512, true},
		{128 * 512, 64 * 512, 50 * 512, true, 130 * 512, true},
		{192 * 512, 64 * 512, 50 * 512, true, 242 * 512, false},
		{256 * 512, 64 * 512, 50 * 512, true, 256 * 512, false},
	}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%+v, %v", got, err)
	}
	got, err = parseZones(&zoneHeader{Zones: 1}, []zoneDescriptor{conventional}, 0)
	if err != nil || !slices.Equal(got, []Zone{{0, 64 * 512, 64 * 512, false, 0, true}}) {
		t.Errorf("%+v, %v", got, err)
	}

	with := func(d zoneDescriptor, change func(*zoneDescriptor)) []zoneDescriptor {
		change(&d)
		return []zoneDescriptor{d}
	}
	for name, zones := range map[string][]zoneDescriptor{
		"none":              {},
		"no length":         with(open, func(d *zoneDescriptor) { d.Len = 0 }),
		"huge":              with(open, func(d *zoneDescriptor) { d.Len = 1 << 60 }),
		"no capacity":       with(open, func(d *zoneDescriptor) { d.Capacity = 0 }),
		"too much of it":    with(open, func(d *zoneDescriptor) { d.Capacity = 65 }),
		"another type":      with(open, func(d *zoneDescriptor) { d.Type = 4 }),
		"elsewhere":         with(open, func(d *zoneDescriptor) { d.Start = 192 }),
		"pointer before":    with(open, func(d *zoneDescriptor) { d.Pointer = 127 }),
		"pointer behind":    with(open, func(d *zoneDescriptor) { d.Pointer = 179 }),
		"pointer far":       with(open, func(d *zoneDescriptor) { d.Pointer = 1 << 62 }),
		"empty and written": with(open, func(d *zoneDescriptor) { d.Cond = condEmpty }),
		"gap":               {open, offline},
	} {
		if zones, err := parseZones(&zoneHeader{Zones: uint32(len(zones)), Flags: hasCapacity}, zones, 130*512); !errors.Is(err, errZones) {
			t.Errorf("%s: %+v, %v", name, zones, err)
		}
	}
	if _, err := parseZones(&zoneHeader{Zones: 2}, []zoneDescriptor{open}, 130*512); !errors.Is(err, errZones) {
		t.Error(err)
	}
}
