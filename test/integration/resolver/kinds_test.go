package resolver

import (
	"slices"
	"strings"
	"testing"

	"github.com/dmcopy/dmcopy/test/vm"
)

// kind is a way of building a device.
type kind struct {
	name   string
	needs  []string // device-mapper targets, or md personalities as "md:raid0"
	trials int      // geometries; 0 means 1
	build  func(b *bench) []*subject
}

// kinds are everything that is built.
var kinds = slices.Concat(plainKinds, serviceKinds, cryptKinds, verityKinds, integrityKinds, mirrorKinds, dmRaidKinds,
	snapshotKinds, thinKinds, cacheKinds, mdKinds, mdStateKinds, lvmKinds)

// mapped tells which kinds the resolver maps, by name or by what the name begins
// with up to a slash. The others are built as well, and have to be opaque.
var mapped = map[string]bool{
	"linear": true, "striped": true, "unstriped": true, "fixed": true, "delay": true,
	"log-writes": true, "era": true, "multipath": true, "crypt": true, "verity": true, "integrity": true,
	"mirror": true, "raid": true, "snapshot": true, "cache": true, "writecache": true, "clone": true,
	"md": true, "md-state": true, "lvm": true, "origin": true, "thin": true, "thin-pool": true,
}

func (k *kind) isMapped() bool {
	family, _, _ := strings.Cut(k.name, "/")
	return mapped[k.name] || mapped[family]
}

// checkMapped finds kinds that are mapped by now and not yet held to it.
func (k *kind) checkMapped(t *testing.T, sum *tally) {
	t.Helper()
	if !k.isMapped() && sum.content+sum.followed > 0 {
		t.Logf("%s is mapped by now: %d sectors", k.name, sum.content+sum.followed)
	}
}

// What the kernels of the guest do not have. Everything else that a kind needs
// must be there.
var absent = map[string][]string{
	vm.KernelOld:     {"clone"},
	vm.KernelDefault: {"clone", "md:linear", "md:multipath", "md:faulty"},
	vm.KernelNew:     {"md:linear", "md:multipath", "md:faulty"},
}

// modules are those whose name does not follow from the name of the target.
var modules = map[string]string{
	"mirror": "dm-mirror", "snapshot-origin": "dm-snapshot", "snapshot-merge": "dm-snapshot", "thin": "dm-thin-pool", "thin-pool": "dm-thin-pool",
	"unstriped": "dm-unstripe", "linear": "dm-mod", "striped": "dm-mod", "error": "dm-mod",
	"md:raid4": "raid456", "md:raid5": "raid456", "md:raid6": "raid456", "md:linear": "md-linear",
}

// missing loads what the kind needs. It tells whether something is missing that
// this kernel is known not to have, and fails if anything else is.
func (k *kind) missing(t *testing.T) (missing bool) {
	t.Helper()
	for _, need := range k.needs {
		name, isMD := strings.CutPrefix(need, "md:")
		module := modules[need]
		switch {
		case module == "" && isMD:
			module = name
		case module == "":
			module = "dm-" + name
		}
		if vm.Kernel() == vm.KernelOld && need == "md:linear" {
			module = "linear" // the name of the module up to 6.7
		}
		_, err := vm.TryRun("modprobe", module)
		there := err == nil && (isMD || hasTarget(t, name))
		switch known := slices.Contains(absent[vm.Kernel()], need); {
		case there && known:
			t.Errorf("kernel %s has %s by now", vm.Kernel(), need)
		case !there && !known:
			t.Errorf("kernel %s has no %s: %v", vm.Kernel(), need, err)
		}
		missing = missing || !there
	}
	if missing {
		t.Logf("kernel %s does not have all of %v", vm.Kernel(), k.needs)
	}
	return missing
}

func hasTarget(t *testing.T, name string) bool {
	t.Helper()
	for line := range strings.Lines(vm.Run(t, "dmsetup", "targets")) {
		if fields := strings.Fields(line); len(fields) > 0 && fields[0] == name {
			return true
		}
	}
	return false
}
