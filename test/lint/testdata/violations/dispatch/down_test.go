package dispatch

import (
	_ "github.com/dmcopy/dmcopy/cmd/dmcopy" // a test reaches up
	_ "github.com/dmcopy/dmcopy/copydomain/nvme"
	_ "github.com/dmcopy/dmcopy/test/fakestack"
)
