//go:build !race

package dispatch_test

// fragments is how many a plan has that is looked over, and fragmentBytes the most
// memory in bytes that is allocated for it.
const (
	fragments     = 1 << 20
	fragmentBytes = 32 << 20
)
