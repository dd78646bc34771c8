package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// failures lists the tests that failed by their own verdict, and those that are parts of them.
// Output that tells nothing of the guard is an error: without a test that passed or failed, such as that of a
// compiler, or with a panic, such as that of tests that do not end.
func failures(out []byte) ([]string, error) {
	var failed []string
	ran := false
	lines := bufio.NewScanner(bytes.NewReader(out))
	lines.Buffer(nil, 1<<24)
	for lines.Scan() {
		var event struct{ Action, Test, Output string }
		if err := json.Unmarshal(lines.Bytes(), &event); err != nil {
			return nil, fmt.Errorf("%w: %s", err, lines.Bytes())
		}
		if crashed.MatchString(event.Output) {
			return nil, fmt.Errorf("no verdict: %s: %s", event.Test, strings.TrimSpace(event.Output))
		}
		ran = ran || event.Test != "" && (event.Action == "pass" || event.Action == "fail")
		if event.Action == "fail" && event.Test != "" && !slices.Contains(failed, event.Test) {
			failed = append(failed, event.Test)
		}
	}
	if !ran {
		return nil, fmt.Errorf("no test was run: %.2000s", out)
	}
	return failed, lines.Err()
}

// crashed is what the runtime says when it ends a process, and what a property says of a panic that it has caught.
var crashed = regexp.MustCompile(`^(panic|fatal error): |\[rapid\] panic after `)
