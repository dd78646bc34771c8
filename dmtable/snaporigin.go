package dmtable

// parseOrigin maps a device that has snapshots (drivers/md/dm-snap.c):
//
//	<origin dev>
//
// Its snapshots read from it what has not been written since. A write below it
// would change them all.
func parseOrigin(t *Target, a *args) mapping {
	return a.absolute(t, newSource(t, a.dev(), 0))
}
