package blocks

import "sync"

// Budget is how many commands a copy domain, a disk or an array, takes at a time, whoever sends them and
// to whichever of its devices. It is as much as the one of its users wants that wants most: one alone has
// all that it would have without a budget, and several share that, by turns.
type Budget struct {
	tokens chan struct{} // as many as commands may be begun now

	mu    sync.Mutex
	size  int
	owed  int // tokens of commands under way that are not given to others after them
	wants map[any]map[any]*share
}

// share is how many commands of a user a part of the domain takes.
type share struct{ commands, joined int }

// mostTokens is more than anybody wants. They take no memory.
const mostTokens = 1 << 30

// NewBudget has no users, and room for nothing.
func NewBudget() *Budget {
	return &Budget{tokens: make(chan struct{}, mostTokens), wants: make(map[any]map[any]*share)}
}

// Join lets a user send n commands at a time to a part of the domain, until leave is called. Several
// parts add up; a part that is joined again is the same part.
func (b *Budget) Join(user, part any, n int) (leave func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.wants[user] == nil {
		b.wants[user] = make(map[any]*share)
	}
	s := b.wants[user][part]
	if s == nil {
		s = new(share)
		b.wants[user][part] = s
	}
	s.commands = max(s.commands, n)
	s.joined++
	b.resize()
	return sync.OnceFunc(func() { b.leave(user, part) })
}

func (b *Budget) leave(user, part any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	parts := b.wants[user]
	if parts[part].joined--; parts[part].joined == 0 {
		delete(parts, part)
	}
	if len(parts) == 0 {
		delete(b.wants, user)
	}
	b.resize()
}

func (b *Budget) resize() {
	size := 0
	for _, parts := range b.wants {
		sum := 0
		for _, s := range parts {
			sum += s.commands
		}
		size = max(size, sum)
	}
	for ; b.size < size; b.size++ {
		b.give()
	}
	for ; b.size > size; b.size-- {
		select {
		case <-b.tokens:
		default:
			b.owed++
		}
	}
}

// done gives back the token of a command.
func (b *Budget) done() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.give()
}

// give makes room for one more, unless that is owed.
func (b *Budget) give() {
	if b.owed > 0 {
		b.owed--
		return
	}
	b.tokens <- struct{}{}
}
