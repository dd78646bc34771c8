package vm

import (
	_ "github.com/dmcopy/dmcopy/dispatch" // upwards
	_ "os/exec"
)
