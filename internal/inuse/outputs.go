package inuse

import (
	"os"
	"strconv"

	"github.com/dmcopy/dmcopy/internal/sysblock"
	"github.com/dmcopy/dmcopy/internal/sysfs"
)

// Names of what this process writes its output to.
const (
	Stdout = "standard output"
	Stderr = "standard error"
)

// output is a block device or regular file that this process writes its output to.
type output struct {
	what string
	id   string // as [sysfs.IDOf] has it
}

// outputs lists which of stdout and stderr are block devices or regular files.
func outputs(root sysfs.Root) (all []output) {
	for fd, what := range map[int]string{1: Stdout, 2: Stderr} {
		link := root.Path("proc/self/fd", strconv.Itoa(fd))
		if !writable(link) {
			continue
		}
		if info, err := os.Stat(link); err == nil && sysfs.IDOf(info) != "" {
			all = append(all, output{what, sysfs.IDOf(info)})
		}
	}
	return all
}

// HasOutputs tells whether the output of this process is in a block device or regular file.
func HasOutputs(sys sysblock.FS) bool { return len(outputs(sys.Root())) > 0 }
