package main

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// restoreTerminal undoes what shellCommand did to the terminal.
var restoreTerminal = func() {}

// shellCommand is a shell on a terminal of the guest's own. script(1) makes that terminal out of the streams, so ours must
// pass every key through.
func shellCommand() (program string, args []string, err error) {
	fd := int(os.Stdin.Fd())
	before, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return "", nil, fmt.Errorf("-shell needs a terminal: %w", err)
	}
	size, err := unix.IoctlGetWinsize(fd, unix.TIOCGWINSZ)
	if err != nil {
		return "", nil, fmt.Errorf("-shell needs a terminal: %w", err)
	}
	raw := *before
	raw.Iflag &^= unix.BRKINT | unix.ICRNL | unix.INLCR | unix.IGNCR | unix.ISTRIP | unix.IXON | unix.PARMRK
	raw.Oflag &^= unix.OPOST
	raw.Lflag &^= unix.ECHO | unix.ECHONL | unix.ICANON | unix.ISIG | unix.IEXTEN
	if err := unix.IoctlSetTermios(fd, unix.TCSETS, &raw); err != nil {
		return "", nil, fmt.Errorf("-shell: %w", err)
	}
	restoreTerminal = func() { unix.IoctlSetTermios(fd, unix.TCSETS, before) }
	command := fmt.Sprintf("stty rows %d cols %d; TERM=%s exec bash -l", size.Row, size.Col, terminalType())
	return "script", []string{"--quiet", "--return", "--command", command, "/dev/null"}, nil
}

// terminalType is ours if it needs no quoting, which every real one is.
func terminalType() string {
	term := os.Getenv("TERM")
	for _, c := range term {
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '+' || c == '.') {
			return "vt100"
		}
	}
	if term == "" {
		return "vt100"
	}
	return term
}
