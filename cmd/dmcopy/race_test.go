//go:build race

package main

// detectorShare: the race detector keeps a history of memory that the program uses. It was
// seen to take 1.6 times what the program may.
const detectorShare = 4
