package watch

import (
	"errors"
	"fmt"
	"strings"

	"github.com/dmcopy/dmcopy/remap"
)

// uevent is what the kernel tells about a device (lib/kobject_uevent.c).
type uevent struct {
	action    string
	subsystem string
	dev       remap.Dev // of a block device
	// synthetic ones were asked for by a program, as udev does when somebody
	// closes a disk that was open for writing.
	synthetic bool
}

var errUevent = errors.New("malformed uevent")

// parseUevent reads "ACTION@DEVPATH" and a list of KEY=VALUE, each of which ends
// with a zero byte.
func parseUevent(msg []byte) (uevent, error) {
	text, ended := strings.CutSuffix(string(msg), "\x00")
	if !ended {
		return uevent{}, fmt.Errorf("%w: no end", errUevent)
	}
	head, rest, _ := strings.Cut(text, "\x00")
	env, err := parseEnv(rest)
	if err != nil {
		return uevent{}, err
	}
	if head != env["ACTION"]+"@"+env["DEVPATH"] || env["ACTION"] == "" {
		return uevent{}, fmt.Errorf("%w: %q is not what the list says", errUevent, head)
	}
	u := uevent{action: env["ACTION"], subsystem: env["SUBSYSTEM"]}
	_, u.synthetic = env["SYNTH_UUID"]
	if u.subsystem == "block" {
		if u.dev, err = remap.ParseDev(env["MAJOR"] + ":" + env["MINOR"]); err != nil {
			return uevent{}, fmt.Errorf("%w: %w", errUevent, err)
		}
	}
	return u, nil
}

// parseEnv reads the list. A key that is there twice has no value to go by.
func parseEnv(text string) (map[string]string, error) {
	env := make(map[string]string)
	for _, line := range strings.Split(text, "\x00") {
		key, value, ok := strings.Cut(line, "=")
		if _, twice := env[key]; !ok || key == "" || twice {
			return nil, fmt.Errorf("%w: %q", errUevent, line)
		}
		env[key] = value
	}
	return env, nil
}

// concerns tells whether it is about a device of the scope. Synthetic ones are
// about nothing that has happened.
func (u uevent) concerns(s scope) bool {
	return u.subsystem == "block" && s.devs[u.dev] && !u.synthetic
}
