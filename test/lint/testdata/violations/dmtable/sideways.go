package dmtable

import (
	_ "github.com/dmcopy/dmcopy/sysblock" // two readers of layouts
	_ "os/exec"                           // dmsetup is not asked
)
