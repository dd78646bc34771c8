package sysblock

import (
	"os"
	"strconv"
)

// Names of what this process writes its output to.
const (
	Stdout = "standard output"
	Stderr = "standard error"
)

// output is a block device or regular file that this process writes its output to.
type output struct {
	what string
	id   string // as [idOf] has it
}

// outputs lists which of stdout and stderr are block devices or regular files.
func (f FS) outputs() (all []output) {
	for fd, what := range map[int]string{1: Stdout, 2: Stderr} {
		link := f.path("proc/self/fd", strconv.Itoa(fd))
		if !writable(link) {
			continue
		}
		if info, err := os.Stat(link); err == nil && idOf(info) != "" {
			all = append(all, output{what, idOf(info)})
		}
	}
	return all
}

// HasOutputs tells whether the output of this process is in a block device or regular file.
func (f FS) HasOutputs() bool { return len(f.outputs()) > 0 }
