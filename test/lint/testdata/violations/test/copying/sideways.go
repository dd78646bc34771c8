package copying

import (
	_ "github.com/dmcopy/dmcopy/copydomain/nvme" // past the copy
	_ "github.com/dmcopy/dmcopy/dispatch"
	_ "github.com/dmcopy/dmcopy/test/vm" // a copy needs no guest
)
