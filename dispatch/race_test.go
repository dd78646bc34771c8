//go:build race

package dispatch_test

// The race detector is slow, and keeps variables on the heap that are on the stack
// otherwise: two for each fragment.
const (
	fragments     = 1 << 18
	fragmentBytes = 20 << 20
)
