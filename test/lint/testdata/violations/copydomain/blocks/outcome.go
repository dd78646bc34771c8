package blocks

import _ "golang.org/x/sys/unix"
