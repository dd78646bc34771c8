package bcache

// Notes say for people what state the device is in, and what follows from it.
func (d *Device) Notes() []string {
	c, _, why := d.mapped()
	switch c {
	case readable:
		return []string{"the cache is clean: read below it, written through it"}
	case bare:
		return []string{"without a cache: read below it, written through it, because one may be attached at any time"}
	}
	return []string{"nothing is read or written below: " + why}
}
