package layout

import (
	_ "github.com/dmcopy/dmcopy/copydomain"     // sideways
	_ "github.com/dmcopy/dmcopy/dmtable/dmtest" // test code in the program
	_ "testing"                                 // test code in the program
)
