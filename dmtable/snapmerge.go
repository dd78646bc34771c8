package dmtable

// parseMerge makes lines opaque of snapshots that are being merged into their
// origin: what is where changes as the merge goes on (drivers/md/dm-snap.c):
//
//	<origin dev> <cow dev> <P|PO|N> <chunk> [<count> <features>…]
func parseMerge(t *Target, a *args) mapping {
	a.dev()
	a.dev()
	a.oneOf("P", "PO", "N")
	a.sector()
	a.flags(snapshotFeatures)
	return a.closed(t)
}
