// Package watch tells when it is time to look at a layout again. It listens to
// the events of device-mapper, to uevents and to the state of md arrays.
//
// None of these is a statement about the layout. Events are late, lost, or about
// something else, and some changes send none: a suspend that waits, a table that
// is loaded and not yet resumed. So an event is a reason to compare, and no event
// is no reason not to. Whoever acts on a layout compares it before and after,
// whether there was an event or not; an event only makes the next comparison
// come sooner.
package watch
