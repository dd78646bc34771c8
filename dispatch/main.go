package dispatch

import (
	"github.com/dmcopy/dmcopy/internal/dispatch/freeze"
	"github.com/dmcopy/dmcopy/internal/dispatch/hold"
	"github.com/dmcopy/dmcopy/internal/rerun"
)

// Main is called first in main by every program that copies: what holds a layout still, and what
// keeps a file system frozen, are processes of this program that is started again. In one of
// them Main does not return. Without the call none is started: mapped destinations are copied to
// through the host, and nothing can be frozen.
func Main() { rerun.Main(hold.Helper, freeze.Helper) }
