package copying

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"testing"

	"github.com/dmcopy/dmcopy/internal/dispatch/account"
)

// Program copies by the program, and returns its report, what it says besides and its exit code.
func Program(t testing.TB, args ...string) (report *account.Report, says string, code int) {
	t.Helper()
	report, says, code, err := Run(exec.Command("dmcopy", append([]string{"copy", "--json"}, args...)...))
	if err != nil {
		t.Fatal(err)
	}
	return report, says, code
}

// Run runs a command that prints a report; one that fails need not print any. That it fails is no error.
func Run(cmd *exec.Cmd) (report *account.Report, says string, code int, err error) {
	report = new(account.Report)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
		return report, "", -1, err
	}
	says, code = errs.String(), cmd.ProcessState.ExitCode()
	if out.Len() == 0 && code != 0 {
		return report, says, code, nil
	}
	if err := json.Unmarshal(out.Bytes(), report); err != nil {
		return report, says, code, fmt.Errorf("%v: exit code %d: %w in %q: %s", cmd.Args, code, err, out.String(), says)
	}
	return report, says, code, nil
}
