package rerun

import (
	_ "github.com/dmcopy/dmcopy/internal/dispatch/hold" // upwards
)
