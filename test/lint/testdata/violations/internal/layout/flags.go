package layout

import (
	_ "C"                      // cgo
	_ "github.com/spf13/pflag" // flags in a library
	_ "golang.org/x/term"      // a terminal in a library
)
