package emulation

import "fmt"

// ReadWhole reads all of p from byte off of a device on.
func ReadWhole(d Device, p []byte, off int64) error {
	for len(p) > 0 {
		n, err := d.ReadAt(p, off)
		if err != nil {
			return err
		}
		if n <= 0 {
			return fmt.Errorf("%s: nothing to read at byte %d", d.Name(), off)
		}
		p, off = p[n:], off+int64(n)
	}
	return nil
}

// WriteWhole writes all of p from byte off of a device on.
func WriteWhole(d Device, p []byte, off int64) error {
	for len(p) > 0 {
		n, err := d.WriteAt(p, off)
		if err != nil {
			return err
		}
		if n <= 0 {
			return fmt.Errorf("%s: nothing is written at byte %d", d.Name(), off)
		}
		p, off = p[n:], off+int64(n)
	}
	return nil
}
