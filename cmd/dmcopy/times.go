package main

import (
	"fmt"
	"time"
)

// timeForms is what time values look like, for messages.
const timeForms = "want a number and its unit, such as 500ms, 90s or 2h30m"

// timeFlag is a flag with a time from now on as its value.
type timeFlag struct {
	value time.Duration
	// unbounded is a word for no bound; "" if there has to be one.
	unbounded string
	set       bool
}

// Set implements pflag.Value.
func (f *timeFlag) Set(s string) error {
	d, err := time.ParseDuration(s)
	switch {
	case f.unbounded != "" && s == f.unbounded:
		f.value, f.set = 0, true
		return nil
	case err != nil:
		return fmt.Errorf("%q is not a time: %s%s", s, timeForms, f.orElse())
	case d <= 0:
		return fmt.Errorf("%q is over at once: %s%s", s, timeForms, f.orElse())
	}
	f.value, f.set = d, true
	return nil
}

func (f *timeFlag) orElse() string {
	if f.unbounded == "" {
		return ""
	}
	return ", or " + f.unbounded
}

func (f *timeFlag) String() string {
	switch {
	case f.value != 0:
		return f.value.String()
	case f.set:
		return f.unbounded
	}
	return ""
}

// Type implements pflag.Value.
func (f *timeFlag) Type() string { return "TIME" }

// timeout is a bound that there need not be.
func timeout() timeFlag { return timeFlag{unbounded: "never"} }
