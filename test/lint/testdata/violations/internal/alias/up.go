package alias

import (
	_ "github.com/dmcopy/dmcopy/internal/blockio" // violation
)
