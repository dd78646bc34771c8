package dispatch

import (
	_ "github.com/dmcopy/dmcopy/copydomain/nvme" // past copydomain
	_ "github.com/dmcopy/dmcopy/test/fakestack"  // test code in the program
	_ "github.com/sirupsen/logrus"               // a library with a logger of its own
	_ "plugin"                                   // code that was not built with the program
)
