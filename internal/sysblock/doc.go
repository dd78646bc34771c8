// Package sysblock reads what sysfs and /proc tell of block devices: their
// facts and their names. Who uses them is for package inuse.
//
// Every reader is a method of [FS], the root that has sys, dev and proc below
// it, so that tests bring a tree of their own. A read that fails is an error
// that names the file; a value that is not understood is an error that shows
// it; nothing becomes a default.
package sysblock
