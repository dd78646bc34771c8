package layercopies

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/dmcopy/dmcopy/remap"
	"github.com/dmcopy/dmcopy/test/vm"
)

// array is an md array.
type array struct {
	*bench
	path    string
	members []string
}

// Arrays of md.
var arrayKinds = []kind{
	{name: "md raid0", build: func(b *bench) *subject {
		return &subject{path: b.array("raid0", 2).path, source: raw, target: raw}
	}},
	{name: "md raid1", build: func(b *bench) *subject {
		a := b.array("raid1", 3, "--bitmap=internal")
		return a.mirrored([]int{0, 1}, []int{1, 2})
	}},
	{name: "md raid10 near", build: func(b *bench) *subject {
		a := b.array("raid10", 4, "--layout=n2", "--bitmap=none")
		return a.mirrored([]int{0, 1}, []int{2, 3})
	}},
	{name: "md raid10 far", build: func(b *bench) *subject { return b.array("raid10", 3, "--layout=f2", "--bitmap=internal").mirrored() }},
	{name: "md raid10 offset", build: func(b *bench) *subject { return b.array("raid10", 4, "--layout=o2", "--bitmap=none").mirrored() }},
	{name: "md raid4", build: func(b *bench) *subject { return b.array("raid4", 3, "--bitmap=none").parity("layer:raid4-parity") }},
	{name: "md raid5", build: func(b *bench) *subject { return b.array("raid5", 3, "--bitmap=internal").parity("layer:raid5-parity") }},
	{name: "md raid6", build: func(b *bench) *subject { return b.array("raid6", 5, "--bitmap=none").parity("layer:raid6-parity") }},
	{name: "md raid1 degraded", build: func(b *bench) *subject {
		a := b.array("raid1", 2, "--bitmap=none")
		a.fail(0)
		return &subject{path: a.path, source: raw, target: host("layer:raid1-degraded")}
	}},
	{name: "md raid5 degraded", build: func(b *bench) *subject {
		a := b.array("raid5", 3, "--bitmap=none")
		a.fail(1)
		return &subject{path: a.path, source: partly("layer:raid5-missing-member"), target: host("layer:raid5-parity")}
	}},
	{name: "md raid5 journal", build: func(b *bench) *subject {
		a := b.array("raid5", 3, "--write-journal="+b.part(8*mib))
		a.until("parity", func() bool { return a.get("degraded") == "0" })
		a.set("journal_mode", "write-back")
		return &subject{path: a.path, source: host("layer:md-journal"), target: host("layer:md-journal")}
	}},
}

// memberSize makes arrays of 16 MiB and more.
const memberSize = 10 * mib

// array makes an array in sync: all members are zeroes, which is what parity of
// zeroes is.
func (b *bench) array(level string, count int, extra ...string) *array {
	b.Helper()
	a := &array{bench: b, path: "/dev/" + strings.Replace(b.newName(), "kind", "md", 1)}
	size := int64(memberSize)
	if level == "raid1" {
		size = volumeSize + 2*mib
	}
	for range count {
		a.members = append(a.members, b.part(size))
	}
	b.assemble(a, level, extra...)
	return a
}

func (b *bench) assemble(a *array, level string, extra ...string) {
	b.Helper()
	args := []string{"--create", a.path, "--run", "--quiet", "--homehost=any", "--metadata=1.2", "--level=" + level, fmt.Sprintf("--raid-devices=%d", len(a.members))}
	if level != "raid0" && !strings.Contains(strings.Join(extra, " "), "journal") {
		args = append(args, "--assume-clean")
	}
	if level != "raid1" {
		args = append(args, "--chunk=64")
	}
	vm.Run(b, "mdadm", append(append(args, extra...), a.members...)...)
	b.Cleanup(func() {
		vm.Eventually(b, "stop of "+a.path, func() error {
			_, err := vm.TryRun("mdadm", "--stop", a.path)
			return err
		})
	})
	if level != "raid0" {
		a.rests()
	}
}

// mirrored is an array of copies. Pairs of members are equal.
func (a *array) mirrored(pairs ...[]int) *subject {
	return &subject{path: a.path, source: raw, target: host("layer:redundant-destination"), check: func() {
		a.scrub()
		size := 2 * 512 * a.number(a.get("component_size"))
		for _, p := range pairs {
			if err := vm.Compare(a.members[p[0]], a.dataStart(p[0]), a.members[p[1]], a.dataStart(p[1]), size); err != nil {
				a.Error(err)
			}
		}
	}}
}

// parity is an array with parity.
func (a *array) parity(why remap.Reason) *subject {
	return &subject{path: a.path, source: raw, target: host(why), check: a.scrub}
}

// dataStart is where the data of a member begin.
func (a *array) dataStart(i int) int64 {
	a.Helper()
	return 512 * a.number(a.get(filepath.Join("dev-"+filepath.Base(a.members[i]), "offset")))
}

// attribute is a file of the array in sysfs.
func (a *array) attribute(name string) string {
	return filepath.Join("/sys/block", filepath.Base(a.path), "md", name)
}

func (a *array) get(name string) string {
	a.Helper()
	text, err := os.ReadFile(a.attribute(name))
	a.must("attribute", err)
	return strings.TrimSpace(string(text))
}

func (a *array) set(name, value string) {
	a.Helper()
	a.must("attribute", os.WriteFile(a.attribute(name), []byte(value), 0))
}

// rests waits until nothing is going on.
func (a *array) rests() {
	a.Helper()
	a.until(a.path+" at rest", func() bool { return a.get("sync_action") == "idle" && a.get("resync_start") == "none" })
}

// scrub has the array compare all copies, or all parity.
func (a *array) scrub() {
	a.Helper()
	a.rests()
	a.set("sync_action", "check")
	a.rests()
	if last, n := a.get("last_sync_action"), a.get("mismatch_cnt"); last != "check" || n != "0" {
		a.Errorf("%s after %s: mismatch_cnt %s", a.path, last, n)
	}
}

// fail fails a member and takes it out.
func (a *array) fail(i int) {
	a.Helper()
	vm.Run(a, "mdadm", a.path, "--fail", a.members[i])
	vm.Eventually(a, "removal of "+a.members[i], func() error {
		_, err := vm.TryRun("mdadm", a.path, "--remove", a.members[i])
		return err
	})
	a.until("removal", func() bool {
		_, err := os.Stat(a.attribute("dev-" + filepath.Base(a.members[i])))
		return errors.Is(err, os.ErrNotExist)
	})
}
