package main

import (
	_ "github.com/anatol/devmapper.go"             // for tests only
	_ "github.com/dmcopy/dmcopy/dmtable"           // past snapshot
	_ "github.com/rogpeppe/go-internal/testscript" // for tests only
	_ "github.com/sirupsen/logrus"
	_ "github.com/somebody/convenience" // nobody has agreed to it
	_ "github.com/spf13/cobra"
	_ "golang.org/x/term"
	_ "pgregory.net/rapid" // for tests only
)
