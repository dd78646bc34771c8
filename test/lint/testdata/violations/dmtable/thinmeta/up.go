package thinmeta

import _ "github.com/dmcopy/dmcopy/dmtable" // upwards
