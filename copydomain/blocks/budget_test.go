package blocks

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// room is how many commands may be begun now.
func (b *Budget) room() int { return len(b.tokens) }

// TestBudget: a budget is what the greediest user would have alone, whatever is under way when that changes.
func TestBudget(t *testing.T) {
	b := NewBudget()
	expect := func(what string, n int) {
		t.Helper()
		if b.room() != n {
			t.Errorf("%s: room for %d, want %d", what, b.room(), n)
		}
	}
	expect("nobody", 0)
	one := b.Join("one", "x", 4)
	expect("one user", 4)
	two := b.Join("two", "x", 3)
	expect("a second one", 4)
	more := b.Join("two", "y", 3)
	expect("who has another part", 6)
	again := b.Join("two", "y", 2)
	expect("twice", 6)
	again()
	expect("and not any more", 6)
	for range 6 {
		<-b.tokens
	}
	more()
	more() // which is once
	expect("all is under way", 0)
	b.done()
	b.done()
	expect("too much is", 0)
	b.done()
	expect("it fits again", 1)
	one()
	expect("the greediest left", 0)
	b.done()
	b.done()
	b.done()
	expect("all is back", 3)
	two()
	expect("all left", 0)
}

// TestSharedBudget: issuers of one domain together send no more commands at a time than its budget has, and
// none of them is kept from its share; alone, one has all of it.
func TestSharedBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		budget := NewBudget()
		var mu sync.Mutex
		var now, most int
		var wait sync.WaitGroup
		copying := func(user string) {
			f := newFake(3)
			f.Budget = budget
			leave := budget.Join(user, f, 3)
			wait.Go(func() {
				defer leave()
				f.fault = func(int) fault {
					mu.Lock()
					now++
					most = max(most, now)
					mu.Unlock()
					over := make(chan struct{})
					time.AfterFunc(time.Millisecond, func() {
						mu.Lock()
						now--
						mu.Unlock()
						close(over)
					})
					return fault{hold: over}
				}
				var pieces []Piece
				for i := range uint64(half / 4) {
					pieces = append(pieces, piece(4*i, half+4*i, 4))
				}
				if r, err := f.copy(context.Background(), pieces...); err != nil || len(r.Redo)+len(r.Fenced) > 0 {
					t.Errorf("%s: %+v, %v", user, r, err)
				}
			})
		}
		for _, c := range []struct {
			users []string
			most  int
		}{{[]string{"one"}, 3}, {[]string{"one", "two", "three"}, 3}, {[]string{"one", "one"}, 6}} {
			most = 0
			for _, user := range c.users {
				copying(user)
			}
			wait.Wait()
			if most != c.most || budget.room() != 0 || budget.owed != 0 {
				t.Errorf("%v: %d at a time, want %d; %d left, %d owed", c.users, most, c.most, budget.room(), budget.owed)
			}
		}
	})
}

// TestBudgetAfterFence: a command that was given up, and a batch that ends early, keep nothing of a budget.
func TestBudgetAfterFence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(2)
		f.Budget = NewBudget()
		leave := f.Budget.Join("one", f, 2)
		never := make(chan struct{})
		f.fault = func(n int) fault {
			if n == 0 {
				return fault{hold: never}
			}
			return fault{}
		}
		r, err := f.copy(t.Context(), piece(0, half, 4), piece(4, half+4, 4), piece(8, half+8, 40))
		if err != nil || len(r.Fenced) != 1 || f.Budget.room() != 2 {
			t.Errorf("%+v, %v, room for %d", r, err, f.Budget.room())
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if r, err := f.copy(ctx, piece(60, half+60, 8)); err != nil || len(r.Redo) == 0 || f.Budget.room() != 2 {
			t.Errorf("%+v, %v, room for %d", r, err, f.Budget.room())
		}
		leave()
		close(never)
		synctest.Wait()
		if f.Budget.room() != 0 || f.Budget.owed != 0 {
			t.Errorf("room for %d, %d owed", f.Budget.room(), f.Budget.owed)
		}
	})
}
