// Package hostcopy copies what no device copies by itself: it is read and written through the
// top of both stacks, so that the kernel maps, enciphers and mirrors each block. What cannot be
// read is made up for with zeroes, if that is wanted.
package hostcopy
