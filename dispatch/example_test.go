package dispatch_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/dmcopy/dmcopy/dispatch"
)

// Two copies over one engine: what the first has found out of the machine, the second does not
// ask again. A program whose destinations may be mapped devices calls [dispatch.Main] first.
func ExampleEngine() {
	dir, err := os.MkdirTemp("", "example-")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	src := filepath.Join(dir, "src")
	if err := os.WriteFile(src, []byte("storage"), 0o600); err != nil {
		fmt.Println(err)
		return
	}
	machine := dispatch.Local(nil)
	defer machine.Close()
	engine := dispatch.New(machine)
	for _, name := range []string{"one", "two"} {
		job, err := dispatch.OpenJob(context.Background(), src, filepath.Join(dir, name), dispatch.OpenOptions{})
		if err != nil {
			fmt.Println(err)
			return
		}
		report, err := engine.Copy(context.Background(), job, dispatch.Options{Verify: dispatch.VerifyFull})
		fmt.Println(report.Result, report.Total, report.Verified, errors.Join(err, job.Close()))
	}
	// Output:
	// ok 7 full <nil>
	// ok 7 full <nil>
}
