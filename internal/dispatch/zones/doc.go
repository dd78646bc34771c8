// Package zones keeps to the order in which a zoned destination is written.
package zones
