package plan

import (
	_ "github.com/dmcopy/dmcopy/dispatch" // upwards
)
