// Package boottime imports upwards.
package boottime

import _ "github.com/dmcopy/dmcopy/internal/dispatch/hold" // a clock does not know whose time is over
