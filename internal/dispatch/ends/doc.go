// Package ends opens the source and the destination of a copy: names are looked up, what
// must not be an end of a copy is refused with its reason and the way out, and both ends
// are kept from being used otherwise until they are closed.
package ends
