//go:build !race

package main

// detectorShare is how many times the memory of the program a test may see.
const detectorShare = 1
