// Package plan decides how each piece of a copy is copied, and tells why it is not copied
// otherwise. It looks over the whole of it before the first byte, and refuses what must not be
// begun. It writes nothing.
package plan
