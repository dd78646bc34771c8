// Package blocks is what commands that copy blocks inside a device have in common,
// whatever protocol they belong to:
//
//	Piece    a run of blocks, from where to where
//	Queue    pieces that commands are cut from, front to back
//	Claim    a batch of pieces is checked, and its blocks are locked on both sides
//	Issuer   makes and sends the commands of a batch, bounded in number and in
//	         time, and says of every block what became of it
//	Outcome  what an answer means, in the words that all protocols share
//	Fence    stands around what a command of unknown fate may still write
//
// How a command looks, within which limits, and what an answer means is the
// business of a [Protocol]. All positions and lengths are logical blocks, counted
// from the start of the device.
package blocks
