// Package hold keeps the layout of a destination still while commands write
// below it.
//
// A table swap while a raw write is in flight puts that write into somebody
// else's data, and device-mapper has no call to pin a table. What the kernel
// does have is a promise to bios: before dm swaps a table it waits for the
// bios in flight (drivers/md/dm.c, dm_wait_for_completion), and md waits for
// its active I/O before it changes an array. An [Anchor] is a read of our own
// that is kept in flight through every dm and md device of the destination, by
// throttling it at the leaf in a cgroup of its own (io.max, block/blk-throttle.c).
// As long as it is in flight, nobody can swap what maps the destination.
//
// The hold expires by itself: the throttle lets the read go after a few
// seconds even if everybody who could release it is dead, or after minutes
// where it had to be slowed down because no other could take its place.
//
// In addition, volumes of LVM are held with the lock that LVM commands take
// ([lockGroup]), so that these wait before they begin instead of half-way.
package hold
