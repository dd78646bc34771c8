package emulation

import (
	_ "github.com/dmcopy/dmcopy/internal/blockio"
	_ "github.com/dmcopy/dmcopy/internal/blockio/looptest" // test code in the program
	_ "github.com/dmcopy/dmcopy/remap"                     // the host knows nothing of stacks
	_ "log"                                                // instead of a logger that is handed in
	_ "math/rand/v2"                                       // chance
)
