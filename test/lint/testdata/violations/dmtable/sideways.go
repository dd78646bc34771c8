package dmtable

import (
	_ "github.com/dmcopy/dmcopy/internal/sysblock" // two readers of layouts
	_ "os/exec"                                    // dmsetup is not asked
)
