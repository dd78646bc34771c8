package dmtable

// parseEBS maps a device that shows smaller blocks than the one below has
// (drivers/md/dm-ebs-target.c):
//
//	<dev> <start> <block> [<block below>]
//
// What is written through it is below when the write returns; but its buffers
// keep whole blocks, and would not see what is written below them.
func parseEBS(t *Target, a *args) mapping {
	m := newSource(t, a.dev(), a.sector())
	a.number()
	if a.more() {
		a.number()
	}
	return m
}
