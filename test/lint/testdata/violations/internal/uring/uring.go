package uring

import _ "github.com/dmcopy/dmcopy/emulation" // a ring knows nothing of copying
