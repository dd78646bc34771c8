package bcache

// Notes say for people what state the device is in, and what follows from it.
func (d *Device) Notes() []string {
	c, _, why := d.mapped()
	switch c {
	case readable:
		return []string{"the cache is clean: dmcopy reads below it and writes through it"}
	case bare:
		return []string{"without a cache: dmcopy reads below it, and writes through it because a cache may be attached at any time"}
	}
	return []string{"dmcopy neither reads nor writes below: " + why}
}
