package hold

import (
	_ "github.com/dmcopy/dmcopy/dispatch" // upwards
	_ "net/http"                          // nothing calls out
)
