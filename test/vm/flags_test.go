package vm

import (
	"slices"
	"testing"
	"time"
)

func TestTranslateFlags(t *testing.T) {
	for _, c := range []struct {
		name    string
		args    []string
		guest   []string
		timeout time.Duration
		outputs map[string]string
	}{
		{"none", nil, nil, 0, nil},
		{"kept", []string{"-test.paniconexit0", "-test.v=true", "-test.run=^TestA$/b=c", "-rapid.seed=5", "-test.count=2"},
			[]string{"-test.paniconexit0", "-test.v=true", "-test.run=^TestA$/b=c", "-rapid.seed=5", "-test.count=2"}, 0, nil},
		{"host paths", []string{"-test.testlogfile=/tmp/x", "-test.gocoverdir", "/tmp/y", "-test.v"}, []string{"-test.v"}, 0, nil},
		{"timeout", []string{"-test.timeout=1m30s"}, []string{"-test.timeout=1m30s"}, 90 * time.Second, nil},
		{"timeout in two words", []string{"--test.timeout", "5s", "x"}, []string{"-test.timeout=5s", "x"}, 5 * time.Second, nil},
		{"profile", []string{"-test.coverprofile=/tmp/b001/c.out", "-test.outputdir=/home/u"},
			[]string{"-test.coverprofile=/dmcopy/out/c.out"}, 0, map[string]string{"c.out": "/tmp/b001/c.out"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, err := translateFlags(c.args)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(f.guest, c.guest) || f.timeout != c.timeout || len(f.outputs) != len(c.outputs) {
				t.Errorf("%+v", f)
			}
			for base, path := range c.outputs {
				if f.outputs[base] != path {
					t.Errorf("output %s: %q, want %q", base, f.outputs[base], path)
				}
			}
		})
	}
	for _, args := range [][]string{{"-test.timeout"}, {"-test.timeout=soon"}, {"-test.fuzz=FuzzX"}} {
		if f, err := translateFlags(args); err == nil {
			t.Errorf("%q: no error but %+v", args, f)
		}
	}
}

func TestMachineChecks(t *testing.T) {
	for name, disks := range map[string][]Disk{
		"no serial":     {{Size: 512}},
		"odd serial":    {{Serial: "a,b", Size: 512}},
		"no size":       {{Serial: "a"}},
		"odd size":      {{Serial: "a", Size: 4096 + 512, BlockSize: 4096}},
		"block size":    {{Serial: "a", Size: 4096, BlockSize: 1024}},
		"bus":           {{Serial: "a", Size: 512, Bus: "ide"}},
		"virtio NSID":   {{Serial: "a", Size: 512, Bus: BusVirtio, NSID: 1}},
		"twice":         {{Serial: "a", Size: 512}, {Serial: "a", NSID: 1, Size: 512}},
		"controllers":   {{Serial: "a", Size: 512, Bus: BusSCSI, Controllers: 2}},
		"copy on a LUN": {{Serial: "a", Size: 512, Bus: BusSCSI, Copy: CopyLimits{MSRC: 1}}},
	} {
		if _, err := (Machine{Disks: disks}).withDefaults(); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if m, err := (Machine{}).withDefaults(); err != nil || m.CPUs == 0 || m.Memory == 0 || m.Kernel == "" {
		t.Errorf("zero machine: %+v, %v", m, err)
	}
}
