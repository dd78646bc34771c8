package main

import (
	"fmt"
	"time"

	"github.com/spf13/pflag"

	"github.com/dmcopy/dmcopy/internal/dispatch/pace"
)

// niceFlag says whether to give way to others, and how long their I/O may take.
type niceFlag struct {
	on    bool
	bound time.Duration // 0: found out
}

// niceAuto has the bound be found out.
const niceAuto = "auto"

// Set implements pflag.Value.
func (f *niceFlag) Set(s string) error {
	if s == niceAuto {
		*f = niceFlag{on: true}
		return nil
	}
	bound, err := time.ParseDuration(s)
	if err != nil || bound <= 0 {
		return fmt.Errorf("%q is none of %s, or a time such as 20ms", s, niceAuto)
	}
	*f = niceFlag{on: true, bound: bound}
	return nil
}

func (f *niceFlag) String() string {
	switch {
	case !f.on:
		return ""
	case f.bound == 0:
		return niceAuto
	}
	return f.bound.String()
}

// Type implements pflag.Value.
func (f *niceFlag) Type() string { return "TIME" }

func (f *niceFlag) add(flags *pflag.FlagSet) {
	flags.Var(f, "nice", "slow down while others use the disks and reads and writes take longer than this on average; auto: than twice what they take without the copy")
	flags.Lookup("nice").NoOptDefVal = niceAuto
}

// watching gives way on this machine, or not at all.
func (f *niceFlag) watching() *pace.Nice {
	if !f.on {
		return nil
	}
	return &pace.Nice{Bound: f.bound, Stat: thisMachine.IOStat}
}
