package enginetest

import (
	_ "github.com/dmcopy/dmcopy/dispatch" // upwards
	_ "pgregory.net/rapid"
)
