package background

import _ "github.com/dmcopy/dmcopy/dispatch" // who waits need not know for what
