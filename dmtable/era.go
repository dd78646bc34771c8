package dmtable

// parseEra maps a device that notes when each block was written last
// (drivers/md/dm-era-target.c):
//
//	<metadata dev> <origin dev> <block>
//
// What is written below it is missing from its notes, and from every backup
// that is made by them.
func parseEra(t *Target, a *args) mapping {
	a.dev()
	m := newSource(t, a.dev(), 0)
	a.sector()
	return a.absolute(t, m)
}
