// Package sysfs finds and reads what the kernel shows in files: the attributes of
// devices below /sys, and what is mounted, below /proc.
//
// [Root] has sys, dev and proc below it, so that tests bring a tree of their own. A
// read that fails is an error that names the file; a value that is not understood
// is an error that shows it; nothing becomes a default. What attributes mean is for
// who asks for them.
package sysfs
