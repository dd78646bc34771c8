// Package failure says how a copy can end other than well: sentinels, refusals that name the
// thing, the reason and the way out, and the step at which something went wrong.
package failure
