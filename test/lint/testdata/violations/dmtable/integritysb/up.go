package integritysb

import _ "github.com/dmcopy/dmcopy/dmtable" // upwards
