// Package mdraid reads md arrays and maps them onto their members.
//
// An [Array] is what sysfs says of an array (drivers/md/md.c), word for word:
// [Read] takes it from a running kernel, and it can be stored. [Array.Layer]
// makes a map of it, with the arithmetic of package raidmap. What is not
// understood, a level, a layout, a state, a single word, makes the array opaque
// with a reason; it is never guessed.
//
// A member that is not in sync is not read at all, although its first part may
// be: so that a running recovery does not change the map with every step.
//
// Superblocks ([ReadSuper]) say the same in another place, and are good for a
// second opinion and for the count of events.
package mdraid
