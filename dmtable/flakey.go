package dmtable

// flakeyFeatures are the features of a flakey line, with how many words follow
// each of them (dm-flakey.c, flakey_status).
var flakeyFeatures = map[string]int{
	"error_reads": 0, "drop_writes": 0, "error_writes": 0,
	"corrupt_bio_byte": 4, "random_read_corrupt": 1, "random_write_corrupt": 1,
}

// parseFlakey makes flakey lines opaque: they fail on purpose, by the clock, and
// whoever stacks one wants to see it happen (drivers/md/dm-flakey.c):
//
//	<dev> <start> <up seconds> <down seconds> <count> [<feature> [<value>…]]…
func parseFlakey(t *Target, a *args) mapping {
	a.blankAtEnd() // up to Linux 6.4
	a.dev()
	a.sector()
	a.number()
	a.number()
	a.options(flakeyFeatures)
	return a.closed(t)
}
