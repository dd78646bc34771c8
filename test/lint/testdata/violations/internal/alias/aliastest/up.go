package aliastest

import (
	_ "github.com/dmcopy/dmcopy/emulation" // support that uses what it tests
	_ "testing"
)
