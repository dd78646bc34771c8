package attic

import (
	_ "github.com/dmcopy/dmcopy/remap" // a package that no rule knows
)
