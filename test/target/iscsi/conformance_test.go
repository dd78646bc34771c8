package iscsi

import (
	"fmt"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/dmcopy/dmcopy/test/target"
)

// leastTests is how many tests libiscsi 1.19 has; if there are fewer, something was not run.
const leastTests = 230

// notMet are tests of libiscsi that a target of ours with such blocks does not pass, and why that is right.
var notMet = map[uint32][]string{
	// It reads and writes 8 MiB at once, although page B0h says that 1 MiB is the most. SBC-3, 6.6.3.
	4096: {"ExtendedCopy.Simple"},
}

// libiscsi's test suite (Debian: libiscsi-bin; test/vm/setup.sh installs it), written from the standards by others, finds nothing wrong
// with the target. Its tests of commands that the target does not have pass without having looked at anything.
func TestConformance(t *testing.T) {
	for _, block := range []uint32{512, 4096} {
		t.Run(fmt.Sprint(block), func(t *testing.T) {
			made, err := target.New(target.Config{
				Disks:  []target.Disk{{Blocks: 64 << 20 / uint64(block), BlockSize: block}},
				Tokens: target.DefaultTokenLimits(), XCopy: target.DefaultCopyLimits(),
			})
			if err != nil {
				t.Fatal(err)
			}
			server, err := Serve("127.0.0.1:0", name, made, nil)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := server.Close(); err != nil {
					t.Error(err)
				}
			})
			failed := conformance(t, fmt.Sprintf("iscsi://%s/%s/0", server.Address(), name))
			if !slices.Equal(failed, notMet[block]) {
				t.Errorf("%q fail, not %q", failed, notMet[block])
			}
		})
	}
}

var (
	failedLine  = regexp.MustCompile(`(?m)^Suite (\S+), Test (\S+) had failures:`)
	summaryLine = regexp.MustCompile(`(?m)^\s*tests +\d+ +(\d+) +\d+ +(\d+) `)
)

// conformance runs all tests over two paths to a unit, and returns the names of those that failed.
func conformance(t *testing.T, url string) (failed []string) {
	t.Helper()
	// It exits with an error if a test fails; what counts is what it says.
	out, err := exec.Command("iscsi-test-cu", "--dataloss", "--normal", "--test=ALL", url, url).CombinedOutput()
	for _, m := range failedLine.FindAllSubmatch(out, -1) {
		failed = append(failed, fmt.Sprintf("%s.%s", m[1], m[2]))
	}
	sum := summaryLine.FindSubmatch(out)
	if sum == nil {
		t.Fatalf("no summary, %v:\n%s", err, out)
	}
	if ran, _ := strconv.Atoi(string(sum[1])); ran < leastTests || string(sum[2]) != strconv.Itoa(len(failed)) {
		t.Fatalf("%s tests ran, %s failed, which are %q:\n%s", sum[1], sum[2], failed, out)
	}
	t.Logf("%s tests ran, %s failed, %d times something was skipped", sum[1], sum[2], strings.Count(string(out), "[SKIPPED]"))
	return failed
}
