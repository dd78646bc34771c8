package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/dmcopy/dmcopy/internal/dispatch/failure"
)

// exit is one line of the table of exit codes.
type exit struct {
	code int
	// when is the error that leads to the code; nil where none does.
	when error
	text string
}

const (
	exitFailed = 1
	exitUsage  = 2
)

// exits is the only place that knows exit codes. The first line whose error
// matches counts.
var exits = []exit{
	{0, nil, "done"},
	{exitFailed, nil, "failed; the message says where"},
	{exitUsage, failure.ErrUsage, "usage: the request makes no sense; nothing was written"},
	{3, errSaved, "incomplete, state saved (timeout, no room, unreadable parts): the same command, or dmcopy resume, goes on"},
	{4, failure.ErrLayout, "the layout kept changing; nothing wrong was written"},
	{5, failure.ErrPolicy, "--offload=require or --hold cannot be met; after the copy was begun, the message says so"},
	{6, failure.ErrRefused, "refused: in use, mounted, too small, read-only, …; nothing was written"},
	{7, failure.ErrMismatch, "verification found a difference"},
	{130, failure.ErrInterrupted, "interrupted; with --state, the same command, or dmcopy resume, goes on"},
}

// exitCode tells how the program ends after an error.
func exitCode(err error) int {
	if err == nil {
		return 0
	}
	for _, e := range exits {
		if e.when != nil && errors.Is(err, e.when) {
			return e.code
		}
	}
	return exitFailed
}

// exitHelp is the table for people; every help text ends with it.
func exitHelp() string {
	var b strings.Builder
	b.WriteString("Exit codes:\n")
	for _, e := range exits {
		fmt.Fprintf(&b, "  %3d  %s\n", e.code, e.text)
	}
	b.WriteString("If dmcopy itself crashes, it ends by SIGABRT (134 in a shell), never with one of these.\n")
	return b.String()
}
