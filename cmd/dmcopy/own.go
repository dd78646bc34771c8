package main

import (
	"os"
	"syscall"

	"github.com/dmcopy/dmcopy/dispatch"
	"github.com/dmcopy/dmcopy/internal/dispatch/ends"
)

// refuseOwn refuses to copy over what the copy itself reads. What it prints into is no
// end in the first place (package ends).
func (a copyCmd) refuseOwn(job dispatch.Job, f *copyFlags) error {
	for flag, path := range map[string]string{
		"--rate-file": string(f.rate.file), "--ranges": string(f.file), "--" + usedMapFlag: string(f.usedMap), "--" + oldMapFlag: string(f.oldMap),
	} {
		if path != "" && isEnd(path, job.Dst) {
			return usage("%s %s: this is %s, which is to be overwritten", flag, shown(path), shown(job.Dst.Name))
		}
	}
	return nil
}

// isEnd tells whether a file is an end of the copy, by whatever name.
func isEnd(path string, e ends.Endpoint) bool {
	one, errOne := os.Stat(path)
	two, errTwo := os.Stat(e.Device.Name())
	if errOne != nil || errTwo != nil {
		return false
	}
	if os.SameFile(one, two) {
		return true
	}
	device, isDevice := one.Sys().(*syscall.Stat_t)
	end, isToo := two.Sys().(*syscall.Stat_t)
	return isDevice && isToo && one.Mode().Type() == os.ModeDevice && two.Mode().Type() == os.ModeDevice && device.Rdev == end.Rdev
}

// isOutput tells whether a path is the regular file that standard output or error go to.
func isOutput(path string) bool {
	named, err := os.Stat(path)
	if err != nil || !named.Mode().IsRegular() {
		return false
	}
	for _, f := range []*os.File{os.Stdout, os.Stderr} {
		if open, err := f.Stat(); err == nil && os.SameFile(named, open) {
			return true
		}
	}
	return false
}
