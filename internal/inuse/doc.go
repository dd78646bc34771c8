// Package inuse tells who uses block devices and files on this machine: what is
// mounted, in whatever namespace, swap space, what is made of them, what targets of
// the kernel offer to others, and what processes have open or locked.
//
// Nothing here is a proof that nobody uses something: users come and go, and some do
// not show.
package inuse
