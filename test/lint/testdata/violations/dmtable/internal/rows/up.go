package rows

import _ "github.com/dmcopy/dmcopy/remap" // rows know no units
