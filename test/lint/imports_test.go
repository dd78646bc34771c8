// Package lint holds the rules of this repository that no linter knows: which
// package may import which, and why.
package lint

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/dmcopy/dmcopy"

// A room is a package and what it may import of ours. Imports point downwards:
// what stands below does not know what stands above.
type room struct {
	dir    string
	may    []string
	reason string
}

// rooms are all packages outside of test/, the lower ones first.
var rooms = []room{
	{"remap", nil, "the arithmetic of layers is pure: whoever reads it need not know anything else"},
	{"internal/alias", nil, "whether two files may be one shows in what they are, wherever they are"},
	{"internal/durable", nil, "names of files are made durable, whatever the files are for"},
	{"internal/blockio", []string{"internal/alias", "internal/durable"}, "block device ioctls know nothing of stacks"},
	{"internal/superblock", nil, "what lies on a device is told from its bytes alone"},
	{"internal/uring", nil, "a ring of requests knows nothing of what they are for"},
	{"internal/background", nil, "waiting for something knows nothing of what it is"},
	{"internal/rerun", nil, "starting oneself again knows nothing of what for"},
	{"internal/boottime", nil, "a clock knows nothing of what is late"},
	{"internal/sysfs", []string{"remap"}, "files of attributes are read without knowing what they mean"},
	{"copydomain/blocks", []string{"internal/boottime"}, "what becomes of commands is the same for every protocol"},
	{"copydomain/nvme", []string{"copydomain/blocks", "internal/boottime", "internal/sysfs"}, "NVMe commands know nothing of stacks, so that they can be used and tested alone"},
	{"copydomain/scsi", []string{"copydomain/blocks", "internal/boottime", "internal/sysfs"}, "SCSI commands know nothing of stacks, so that they can be used and tested alone"},
	{"copydomain/files", []string{"copydomain/blocks", "internal/boottime", "internal/sysfs"}, "copying between files knows nothing of stacks, so that it can be used and tested alone"},
	{"internal/raidmap", []string{"remap"}, "the arithmetic of RAID levels knows neither md nor device-mapper, because both use it"},
	{"mdraid", []string{"remap", "internal/raidmap", "internal/sysfs"}, "arrays are read into layers; they know nothing of device-mapper"},
	{"internal/bcache", []string{"remap", "internal/sysfs"}, "bcache devices are read into layers; they know nothing of device-mapper or md"},
	{"dmtable/internal/rows", nil, "tables of numbers in JSON, whatever they mean"},
	{"dmtable/exstore", []string{"remap", "dmtable/internal/rows"}, "what lies on a disk is read without knowing whose table it belongs to"},
	{"dmtable/thinmeta", []string{"remap", "dmtable/internal/rows"}, "what lies on a disk is read without knowing whose table it belongs to"},
	{"dmtable/integritysb", []string{"remap"}, "what lies on a disk is read without knowing whose table it belongs to"},
	{"dmtable", []string{"remap", "internal/raidmap", "dmtable/exstore", "dmtable/thinmeta", "dmtable/integritysb"}, "tables are read into layers; they know nothing of sysfs or of md"},
	{"internal/sysblock", []string{"remap", "internal/sysfs"}, "facts of devices; they know nothing of device-mapper"},
	{"internal/inuse", []string{"remap", "internal/alias", "internal/sysblock", "internal/sysfs"}, "who uses devices and files shows in /sys and /proc; what it is good for does not matter"},
	{"internal/layout", []string{"remap", "dmtable", "dmtable/exstore", "dmtable/thinmeta", "dmtable/integritysb", "mdraid", "internal/bcache", "internal/sysblock", "internal/sysfs", "internal/blockio", "internal/durable"}, "the one place where the readers of layouts meet"},
	{"internal/layout/watch", []string{"remap", "dmtable", "internal/sysfs"}, "who listens for changes of layouts does not read them"},
	{"emulation", []string{"internal/blockio", "internal/uring"}, "copying through the host works without knowing what is below a device"},
	{"copydomain", []string{"remap", "internal/boottime", "internal/sysfs", "copydomain/blocks", "copydomain/files", "copydomain/nvme", "copydomain/scsi"}, "which leaves a command can span; not what a volume is"},
	{"internal/dispatch/hold", []string{"remap", "internal/background", "internal/boottime", "internal/rerun", "internal/sysfs"}, "holding a layout still works for whoever needs it held"},
	{"internal/dispatch/freeze", []string{"remap", "internal/rerun"}, "freezing a file system works for whoever needs it frozen, and knows nothing of copies"},
	{"internal/journal", []string{"internal/durable"}, "what a copy has done is kept without knowing what it is between, or how it is done"},
	{"internal/dispatch/failure", nil, "how a copy can end is known everywhere, and knows nothing"},
	{"internal/dispatch/byterange", nil, "the arithmetic of ranges knows nothing of what they are of"},
	{"internal/dispatch/inflight", []string{"internal/dispatch/failure", "emulation", "internal/background"}, "calls are counted without knowing what they are for"},
	{"internal/dispatch/machine", []string{"copydomain", "internal/dispatch/hold", "emulation", "remap"}, "what a copy needs of a machine is said apart from the machine there is"},
	{"internal/dispatch/kernel", []string{"copydomain", "internal/dispatch/hold", "internal/dispatch/machine", "emulation", "internal/blockio", "remap", "internal/layout", "internal/layout/watch", "internal/sysblock"}, "the machine that there is knows nothing of copies"},
	{"internal/dispatch/ends", []string{"internal/alias", "internal/dispatch/byterange", "internal/dispatch/failure", "internal/dispatch/freeze", "emulation", "internal/blockio", "internal/superblock", "internal/journal", "remap", "internal/layout", "internal/sysblock", "internal/inuse"}, "opening the ends of a copy is done before anything is known of how they are copied"},
	{"internal/dispatch/account", []string{"copydomain", "internal/dispatch/failure", "remap"}, "counting knows nothing of what is counted"},
	{"internal/dispatch/plan", []string{"copydomain", "internal/dispatch/account", "internal/dispatch/byterange", "internal/dispatch/ends", "internal/dispatch/failure", "internal/dispatch/hold", "internal/dispatch/machine", "emulation", "internal/blockio", "remap", "internal/sysblock"}, "a plan says how to copy, and writes nothing"},
	{"internal/dispatch/window", []string{"copydomain", "internal/dispatch/account", "internal/dispatch/byterange", "internal/dispatch/hold", "internal/dispatch/plan", "internal/boottime", "remap"}, "a window is steps of a plan, and does nothing"},
	{"internal/dispatch/track", []string{"internal/dispatch/byterange", "internal/dispatch/failure", "internal/dispatch/machine", "internal/dispatch/plan", "remap"}, "following a layout is no copying"},
	{"internal/dispatch/hostcopy", []string{"internal/dispatch/account", "internal/dispatch/byterange", "internal/dispatch/ends", "internal/dispatch/failure", "internal/dispatch/plan", "emulation"}, "the host copies through the top, and knows nothing of holds and commands"},
	{"internal/dispatch/zones", []string{"internal/dispatch/account", "internal/dispatch/byterange", "internal/dispatch/ends", "internal/dispatch/failure", "internal/dispatch/hostcopy", "internal/dispatch/plan", "emulation", "internal/blockio"}, "what is special about zones is in one place"},
	{"internal/dispatch/record", []string{"internal/dispatch/account", "internal/dispatch/byterange", "internal/dispatch/failure", "internal/dispatch/inflight", "internal/dispatch/plan", "internal/dispatch/window", "internal/journal", "remap"}, "what was done is recorded without knowing by whom"},
	{"internal/dispatch/pace", []string{"internal/dispatch/account", "internal/dispatch/failure", "internal/dispatch/plan", "internal/dispatch/window", "remap", "internal/sysblock"}, "how fast something goes is decided without knowing what it is"},
	{"internal/dispatch/proof", []string{"copydomain", "internal/dispatch/account", "internal/dispatch/byterange", "internal/dispatch/ends", "internal/dispatch/failure", "internal/dispatch/hostcopy", "internal/dispatch/machine", "internal/dispatch/plan", "internal/dispatch/window", "internal/dispatch/zones", "emulation", "internal/blockio", "remap"}, "pairs are proven at their leaves"},
	{"internal/dispatch/offload", []string{"copydomain", "internal/dispatch/account", "internal/dispatch/byterange", "internal/dispatch/failure", "internal/dispatch/hold", "internal/dispatch/machine", "internal/dispatch/plan", "internal/dispatch/proof", "internal/dispatch/track", "internal/dispatch/window", "internal/boottime", "remap"}, "commands reach devices through copydomain only"},
	{"dispatch", []string{"copydomain", "internal/dispatch/...", "emulation", "internal/blockio", "internal/rerun", "internal/journal", "remap"}, "carries copies out, and knows no kernel"},
	{"examples/copy", []string{"dispatch"}, "a program of a stranger can import what is public, and needs no more than this"},
	{"cmd/dmcopy", []string{"remap", "internal/background", "internal/superblock", "internal/sysblock", "internal/inuse", "internal/layout", "emulation", "copydomain", "dispatch", "internal/dispatch/...", "internal/journal"},
		"words, flags and exit codes; nothing imports it"},
}

// support are packages that help tests and are linked into no program.
var support = []room{
	{"internal/alias/aliastest", nil, "files with two names, for the tests of whoever looks at files"},
	{"internal/blockio/looptest", nil, "loop devices for the tests of whoever does I/O"},
	{"dmtable/dmtest", []string{"remap"}, "a fake device-mapper must not share code with what it tests"},
	{"mdraid/mdraidtest", nil, "fixtures must not share code with what reads them"},
	{"internal/sysblock/sysblocktest", []string{"remap", "internal/sysblock"}, "machines to read facts of"},
	{"internal/dispatch/plan/plantest", []string{"remap"}, "stacks for the tests of plans"},
	{"emulation/enginetest", []string{"internal/blockio", "internal/uring", "emulation"}, "the suite that every engine has to pass"},
	{"test/vm", nil, "a guest, and what tools build in it, know nothing of what is tested there"},
	{"test/copying", []string{"internal/sysblock", "internal/layout", "dispatch", "internal/dispatch/..."}, "makes copies as the command does, wherever it is run"},
	{"test/...", []string{"..."}, "tests of the whole may use the whole"},
}

// A dependency is a package that is not ours, and the files that may import it.
type dependency struct {
	path   string
	in     []string
	reason string
}

// tests are the files that are linked into no program.
var tests = []string{"*_test.go", "internal/alias/aliastest/...", "internal/blockio/looptest/...", "dmtable/dmtest/...", "mdraid/mdraidtest/...", "internal/sysblock/sysblocktest/...", "emulation/enginetest/...", "internal/dispatch/plan/plantest/...", "test/..."}

// dependencies are everything outside of the standard library, and the parts
// of it that not everybody may use. The first line that matches counts.
var dependencies = []dependency{
	{"C", nil, "the program is static and is built without a C compiler"},
	{"unsafe", []string{"*/uapi.go", "*/ioctl.go", "*/uapi_test.go", "*/uapi_amd64_test.go", "internal/boottime/syscall.go", "test/..."}, "memory is shared with the kernel in few files, each next to the header that it mirrors"},
	{"golang.org/x/sys/...", append([]string{"internal/alias/...", "internal/durable/...", "internal/blockio/...", "internal/boottime/...", "internal/uring/...", "copydomain/blocks/outcome.go", "copydomain/files/...", "copydomain/nvme/...", "copydomain/scsi/...", "dmtable/...", "internal/sysblock/...", "internal/sysfs/...", "internal/inuse/...", "internal/layout/metadatasnap.go", "internal/layout/watch/...",
		"emulation/...", "dispatch/...", "internal/dispatch/...", "internal/journal/...", "cmd/dmcopy/..."}, tests...), "only who talks to the kernel knows its numbers"},
	{"golang.org/x/term", []string{"cmd/dmcopy/..."}, "only the command has a terminal"},
	{"github.com/sirupsen/logrus/...", []string{"cmd/dmcopy/..."}, "libraries log to a *slog.Logger that they are given"},
	{"github.com/spf13/...", []string{"cmd/dmcopy/..."}, "flags belong to the command"},
	{"github.com/anatol/devmapper.go", []string{"test/..."}, "a second opinion for tests; tables are read by dmtable"},
	{"github.com/rogpeppe/go-internal/...", []string{"*_test.go"}, "test scripts of the command"},
	{"pgregory.net/rapid", tests, "properties are tests"},
	{"log", append([]string{"examples/..."}, tests...), "libraries log to a *slog.Logger that they are given"},
	{"os/exec", append([]string{"internal/rerun/rerun.go", "internal/dispatch/hold/client.go", "internal/dispatch/freeze/client.go"}, tests...), "layouts are asked of the kernel, never of the output of another program; the only children are our own helpers"},
	{"testing/...", tests, "test code is linked into no program"},
	{"math/rand/...", tests, "what is done to a device does not depend on chance"},
	{"plugin", nil, "what runs is what was built"},
	{"net/...", []string{"test/..."}, "nothing listens and nothing calls out"},
}

// pure is what remap may use of the standard library: nothing that reads a
// file, knows the time or starts a thread.
var pure = []string{"cmp", "errors", "fmt", "iter", "maps", "math", "math/bits", "slices", "sort", "strconv", "strings", "sync/atomic", "unicode/utf8"}

// violation is an import that a rule forbids.
type violation struct {
	source
	rule   string
	reason string
}

func (v violation) String() string {
	return fmt.Sprintf("%s:%d imports %s: %s: %s", v.file, v.line, v.path, v.rule, v.reason)
}

// check applies the rules to the imports.
func check(imports []source) (found []violation) {
	for _, s := range imports {
		rule, reason := judgeOutside(s)
		if ours, ok := strings.CutPrefix(s.path, module+"/"); ok {
			rule, reason = judgeOurs(s, ours)
		}
		if rule != "" {
			found = append(found, violation{s, rule, reason})
		}
	}
	return found
}

// judgeOurs tells which rule an import of a package of ours breaks, if any.
func judgeOurs(s source, target string) (rule, reason string) {
	r, isSupport := find(s.dir())
	switch {
	case r == nil:
		return "unknown room " + s.dir(), "every package has a line in test/lint that says what it may import, and why"
	case isTest(s.file) && (target == s.dir() || matchAny(supportDirs(), target) || reaches(r, target)):
		return "", ""
	case matchAny(r.may, target) && (isSupport || !matchAny(supportDirs(), target)):
		return "", ""
	}
	return "room " + r.dir, r.reason
}

// judgeOutside tells which rule an import of somebody else's package breaks.
func judgeOutside(s source) (rule, reason string) {
	if s.dir() == "remap" && !isTest(s.file) && !slices.Contains(pure, s.path) {
		return "pure remap", rooms[0].reason
	}
	for _, d := range dependencies {
		if match(d.path, s.path) {
			if matchAny(d.in, s.file) {
				return "", ""
			}
			return "dependency " + d.path, d.reason
		}
	}
	if first, _, _ := strings.Cut(s.path, "/"); strings.Contains(first, ".") {
		return "unknown dependency", "every dependency has a line in test/lint that says who may use it, and why"
	}
	return "", ""
}

// find returns the room of a directory.
func find(dir string) (r *room, isSupport bool) {
	for i := range support {
		if match(support[i].dir, dir) {
			return &support[i], true
		}
	}
	for i := range rooms {
		if rooms[i].dir == dir {
			return &rooms[i], false
		}
	}
	return nil, false
}

func supportDirs() (dirs []string) {
	for _, r := range support {
		dirs = append(dirs, r.dir)
	}
	return dirs
}

// reaches tells whether the target stands below the room: tests may reach as
// deep as they like, never higher.
func reaches(r *room, target string) bool {
	if matchAny(r.may, target) {
		return true
	}
	for i := range rooms {
		if below := &rooms[i]; below != r && matchAny(r.may, below.dir) && reaches(below, target) {
			return true
		}
	}
	return false
}

func isTest(file string) bool { return strings.HasSuffix(file, "_test.go") }

func TestImports(t *testing.T) {
	imports := load(t, "../..")
	if len(imports) < 500 {
		t.Fatalf("only %d imports found: is this the repository?", len(imports))
	}
	for _, v := range check(imports) {
		t.Error(v)
	}
}

// TestNoRuleIsIdle: a line for a package that is gone says nothing.
func TestNoRuleIsIdle(t *testing.T) {
	dirs := make(map[string]bool)
	for _, s := range load(t, "../..") {
		dirs[s.dir()] = true
	}
	for _, r := range slices.Concat(rooms, support) {
		if !matchSome(r.dir, slices.Collect(maps.Keys(dirs))) {
			t.Errorf("there is no package %s", r.dir)
		}
	}
}

// TestRulesBite breaks every rule once. Imports that are marked with a comment
// are the ones that have to be found.
func TestRulesBite(t *testing.T) {
	imports := load(t, "testdata/violations")
	broken := make(map[string]bool)
	found := make(map[source]bool)
	for _, v := range check(imports) {
		broken[v.rule] = true
		found[v.source] = true
		if !v.marked {
			t.Errorf("not a violation: %s", v)
		}
	}
	for _, s := range imports {
		if s.marked && !found[s] {
			t.Errorf("%s:%d imports %s, and no rule is broken", s.file, s.line, s.path)
		}
	}
	rules := []string{"pure remap", "unknown dependency", "unknown room attic"}
	for _, r := range slices.Concat(rooms, support[:len(support)-1]) { // test/... may use everything
		rules = append(rules, "room "+r.dir)
	}
	for _, d := range dependencies {
		rules = append(rules, "dependency "+d.path)
	}
	for _, rule := range rules {
		if !broken[rule] {
			t.Errorf("no fixture breaks the rule %q", rule)
		}
		delete(broken, rule)
	}
	for rule := range broken {
		t.Errorf("a rule that is not listed was broken: %q", rule)
	}
}
