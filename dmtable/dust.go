package dmtable

// parseDust makes dust lines opaque: they fail on purpose, at sectors that only
// messages tell (drivers/md/dm-dust.c):
//
//	<dev> <start> <block bytes>
func parseDust(t *Target, a *args) mapping {
	a.dev()
	a.sector()
	a.number()
	return a.closed(t)
}
