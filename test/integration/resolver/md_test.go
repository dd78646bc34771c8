package resolver

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/dmcopy/dmcopy/remap"
	"github.com/dmcopy/dmcopy/test/vm"
)

// mdKinds are the levels and layouts of md in a state of rest.
var mdKinds = func() (all []kind) {
	add := func(level, layout string, trials, least int) {
		name := "md/" + level
		if layout != "" {
			name += "-" + layout
		}
		all = append(all, kind{name: name, needs: []string{"md:" + level}, trials: trials,
			build: func(b *bench) []*subject { return buildMD(b, level, layout, least) }})
	}
	add("linear", "", 3, 2)
	add("multipath", "", 1, 2)
	add("faulty", "", 1, 1)
	add("raid0", "", 2, 1)
	add("raid0", "original", 2, 3)
	add("raid0", "alternate", 2, 3)
	add("raid1", "", 2, 2)
	for _, layout := range []string{"n2", "n3", "f2", "f3", "o2", "o3"} {
		add("raid10", layout, 1, 3)
	}
	add("raid4", "", 1, 3)
	for _, layout := range []string{"left-asymmetric", "right-asymmetric", "left-symmetric", "right-symmetric", "parity-first", "parity-last"} {
		add("raid5", layout, 1, 3)
		add("raid6", layout, 1, 4)
	}
	for _, layout := range []string{"ddf-zero-restart", "ddf-N-restart", "ddf-N-continue",
		"left-asymmetric-6", "right-asymmetric-6", "left-symmetric-6", "right-symmetric-6", "parity-first-6"} {
		add("raid6", layout, 1, 4)
	}
	return all
}()

// array is an md array.
type array struct {
	*bench
	path    string
	level   string
	members []string
}

// mdArgs are the arguments of mdadm --create.
type mdArgs struct {
	level, layout string
	metadata      string
	chunk         int // KiB; 0 for levels without chunks
	extra         []string
	members       []string // and words between them
}

// create makes an array, gone with the trial.
func (b *bench) create(a mdArgs, count int) *array {
	b.Helper()
	b.pool.names++
	path := fmt.Sprintf("/dev/md%d", 100+b.pool.names)
	args := []string{"--create", path, "--run", "--homehost=any", "--level=" + a.level, fmt.Sprintf("--raid-devices=%d", count), "--metadata=" + a.metadata}
	if a.chunk > 0 {
		args = append(args, fmt.Sprintf("--chunk=%d", a.chunk))
	}
	if a.layout != "" {
		args = append(args, "--layout="+a.layout)
	}
	vm.Run(b, "mdadm", append(append(args, a.extra...), a.members...)...)
	b.Cleanup(func() {
		vm.Eventually(b, "stop of "+path, func() error {
			_, err := vm.TryRun("mdadm", "--stop", path)
			return err
		})
	})
	made := &array{bench: b, path: path, level: a.level}
	for _, m := range a.members {
		if strings.HasPrefix(m, "/") {
			made.members = append(made.members, m)
		}
	}
	return made
}

// members makes partitions, the largest up to a few hundred sectors larger than
// the smallest.
func (b *bench) members(count int, least, more remap.Sector) (paths []string) {
	for range count {
		paths = append(paths, b.part(b.take(least+b.upTo(more, b.align))))
	}
	return paths
}

// metadataArgs picks a version, and where the data begin. mdadm does not put the
// oldest on raid0, because it has no room for the layout of zones.
func (b *bench) metadataArgs(level string) (version string, extra []string, offset remap.Sector) {
	version = pick(b, "0.90", "1.0", "1.1", "1.2", "1.2")
	if level == "raid0" && version == "0.90" {
		version = "1.0"
	}
	if version == "1.1" || version == "1.2" {
		offset = 8 * (32 + b.upTo(150, 1))
		extra = append(extra, fmt.Sprintf("--data-offset=%dK", offset/2))
	}
	return version, extra, offset + 256 // the other versions use the end
}

func buildMD(b *bench, level, layout string, least int) []*subject {
	a := mdArgs{level: level, layout: layout}
	count := least + b.IntN(4)
	// The pages of parity stripes travel one by one, so that these are small.
	size, more := b.between(1000, 2000, 8), remap.Sector(400)
	redundant := true
	switch level {
	case "raid0":
		redundant = false
		a.chunk = pick(b, 4, 8, 16, 32, 64, 12, 80)
		size, more = 1500, 1200
		if layout == "" { // members of one size have no zones
			count, more = max(count, 2), 1
		}
	case "linear":
		redundant = false
		a.chunk = pick(b, 4, 16, 64)
		more = 1200
	case "multipath", "faulty":
		redundant = false
		count = least
	case "raid1":
		size = 2000
	default:
		a.chunk = pick(b, 4, 8, 32, 64)
	}
	var offset remap.Sector
	a.metadata, a.extra, offset = b.metadataArgs(level)
	if redundant {
		a.extra = append(a.extra, "--assume-clean", "--bitmap="+pick(b, "none", "internal"))
	}
	if level == "multipath" {
		a.members = []string{b.pool.paths[0].path, b.pool.paths[1].path}
		b.taken = append(b.taken, run{b.pool.paths[0], 0, b.pool.paths[0].size})
	} else {
		a.members = b.members(count, offset+size, more)
	}
	made := b.create(a, count)
	b.fill(made.path)
	s := &subject{path: made.path, name: a.metadata, followed: true}
	switch level {
	case "raid0", "linear":
		s.read, s.write = inPlace, inPlace
		if a.chunk&(a.chunk-1) != 0 { // such an array may be shorter than its zones (raid0.c, raid0_size)
			s.read, s.write = dataParts, dataParts
		}
	case "raid1", "raid10":
		s.read, s.write = readLegs, anyLegs
	case "faulty", "multipath": // gone from newer kernels, and not mapped
		s.read, s.write = dataParts, dataParts
	default:
		s.read, s.write, s.followed = inPlace, opaque, false
	}
	return []*subject{s}
}

// attribute is a file of the array in sysfs.
func (a *array) attribute(name string) string {
	return filepath.Join("/sys/block", filepath.Base(a.path), "md", name)
}

func (a *array) get(name string) string {
	a.Helper()
	text, err := os.ReadFile(a.attribute(name))
	if err != nil {
		a.Fatal(err)
	}
	return strings.TrimSpace(string(text))
}

// set writes an attribute. Threads that have done their work stay for a moment,
// in which some attributes cannot be changed.
func (a *array) set(name, value string) {
	a.Helper()
	vm.Eventually(a, name+" = "+value, func() error { return os.WriteFile(a.attribute(name), []byte(value), 0) })
}

// member is an attribute of the i-th device.
func (a *array) member(i int, name string) string {
	return filepath.Join("dev-"+filepath.Base(a.members[i]), name)
}

// synced waits until nothing is being rebuilt.
func (a *array) synced() {
	a.Helper()
	a.until("array in sync", func() bool {
		return a.get("sync_action") == "idle" && a.get("degraded") == "0" && a.get("resync_start") == "none"
	})
}
