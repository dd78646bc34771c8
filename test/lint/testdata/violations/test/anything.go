package test

import (
	_ "github.com/dmcopy/dmcopy/cmd/dmcopy"
	_ "github.com/dmcopy/dmcopy/dispatch"
	_ "os/exec"
)
