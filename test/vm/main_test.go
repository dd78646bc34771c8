package vm

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"testing"
)

func TestRunAgain(t *testing.T) {
	aborted := fmt.Errorf("%w: %w", ErrGuest, howEnded(exec.Command("sh", "-c", "kill -ABRT $$").Run()))
	killed := fmt.Errorf("%w: %w", ErrGuest, howEnded(exec.Command("sh", "-c", "kill -KILL $$").Run()))
	failed := fmt.Errorf("%w: %w", ErrGuest, howEnded(exec.Command("sh", "-c", "exit 1").Run()))
	if !errors.Is(aborted, ErrAborted) || errors.Is(killed, ErrAborted) || errors.Is(failed, ErrAborted) || errors.Is(howEnded(nil), ErrAborted) {
		t.Fatalf("%v; %v; %v", aborted, killed, failed)
	}
	for _, c := range []struct {
		name   string
		output string
		err    error
		runs   int
	}{
		{"passed", "PASS\n", nil, 1},
		{"aborted", "=== RUN TestA\nok so far\n", aborted, 2},
		{"killed", "", killed, 1},
		{"aborted after a failure", "--- FAIL: TestA (0.1s)\n    a_test.go:5: wrong\n", aborted, 1},
		{"aborted after a failure of a sub-test", "    --- FAIL: TestA/b (0.1s)\n", aborted, 1},
		{"aborted at the end of a failure", "FAIL", aborted, 1},
		{"aborted after a panic", "panic: oh\n\ngoroutine 1\n", aborted, 1},
		{"aborted after a race", "WARNING: DATA RACE\n", aborted, 1},
		{"a word that is none of ours", "the FAIL in the middle\n", aborted, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			for split := range len(c.output) + 1 {
				var log, out bytes.Buffer
				runs := 0
				_, err := runAgain(&log, Payload{Stdout: &out, Stderr: io.Discard}, func(p Payload) (int, error) {
					runs++
					io.WriteString(p.Stdout, c.output[:split])
					io.WriteString(p.Stdout, c.output[split:])
					return 0, c.err
				})
				if runs != c.runs || !errors.Is(err, c.err) || out.String() != strings.Repeat(c.output, runs) || (log.Len() > 0) != (runs > 1) {
					t.Fatalf("split at %d: %d runs, %v, log %q, output %q", split, runs, err, &log, &out)
				}
			}
		})
	}
}
