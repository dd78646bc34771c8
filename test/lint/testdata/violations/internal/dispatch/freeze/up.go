package freeze

import (
	_ "github.com/dmcopy/dmcopy/internal/dispatch/hold" // freezing holds no layout
)
