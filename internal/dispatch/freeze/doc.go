// Package freeze keeps a mounted file system as it is for a while: FIFREEZE
// writes everything back and has writers wait, FITHAW lets them go on (fs/super.c).
//
// A file system that stays frozen stops the machine sooner or later. So both calls
// are made by a helper process, which thaws when it is told to, when whoever
// started it is gone, by whatever signal, and when the time is over.
package freeze
