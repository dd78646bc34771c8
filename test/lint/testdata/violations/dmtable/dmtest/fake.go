package dmtest

import (
	_ "github.com/dmcopy/dmcopy/dmtable" // a fake that shares code with the original
	_ "testing"
)
