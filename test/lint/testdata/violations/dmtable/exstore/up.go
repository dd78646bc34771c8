package exstore

import _ "github.com/dmcopy/dmcopy/dmtable" // upwards
