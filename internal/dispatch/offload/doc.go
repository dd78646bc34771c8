// Package offload has devices carry out the steps of a window. The layout is held meanwhile,
// and compared before the first command and after the last one. Of what was done it tells what
// counts, what the host has to do, and what is to be planned again.
package offload
