package remap

import (
	_ "fmt"
	_ "github.com/dmcopy/dmcopy/dmtable" // the heart imports a reader
	_ "time"                             // nothing here knows the time
)
