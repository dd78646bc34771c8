package freeze

import (
	_ "github.com/dmcopy/dmcopy/dispatch/hold" // freezing holds no layout
)
