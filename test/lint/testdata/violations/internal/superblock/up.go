// Package superblock breaks its rule.
package superblock

import _ "github.com/dmcopy/dmcopy/dispatch" // who looks at bytes need not know what is done with them
