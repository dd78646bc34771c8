package account

import "maps"

// Share is what of an account is due to a part of the copy.
type Share struct {
	bytes [fates]int64
	tally Tally
}

// Share is what was counted so far.
func (a *Account) Share() Share {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := Share{tally: Tally{maps.Clone(a.tally.Methods), maps.Clone(a.tally.Reasons)}}
	for f := range s.bytes {
		s.bytes[f] = a.bytes[f].Load()
	}
	return s
}

// Remove takes a share out of the account: that part is copied again.
func (a *Account) Remove(s Share) {
	for f, n := range s.bytes {
		a.bytes[f].Add(-n)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	addEach(a.tally.Methods, s.tally.Methods, -1)
	addEach(a.tally.Reasons, s.tally.Reasons, -1)
	a.telling.Lock()
	defer a.telling.Unlock()
	a.progress.Resumed -= s.tally.Reasons[ReasonResumed]
}

// Plus is the sum of two shares.
func (s Share) Plus(t Share) Share { return s.with(t, 1) }

// Minus is a share without one that is a part of it.
func (s Share) Minus(t Share) Share { return s.with(t, -1) }

func (s Share) with(t Share, sign int64) Share {
	sum := Share{tally: Tally{maps.Clone(s.tally.Methods), maps.Clone(s.tally.Reasons)}}
	for f := range sum.bytes {
		sum.bytes[f] = s.bytes[f] + sign*t.bytes[f]
	}
	addEach(sum.tally.Methods, t.tally.Methods, sign)
	addEach(sum.tally.Reasons, t.tally.Reasons, sign)
	return sum
}

// addEach keeps no zeroes.
func addEach[K comparable](to, from map[K]int64, sign int64) {
	for k, n := range from {
		if to[k] += sign * n; to[k] == 0 {
			delete(to, k)
		}
	}
}
