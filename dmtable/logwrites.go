package dmtable

// parseLogWrites maps a device that logs each write
// (drivers/md/dm-log-writes.c):
//
//	<dev> <log dev>
//
// What is written below it is missing from the log.
func parseLogWrites(t *Target, a *args) mapping {
	m := newSource(t, a.dev(), 0)
	a.dev()
	return a.absolute(t, m)
}
