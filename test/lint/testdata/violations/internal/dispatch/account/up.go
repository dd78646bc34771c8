package account

import (
	_ "github.com/dmcopy/dmcopy/dispatch" // upwards
)
