package blocks

import "fmt"

// Queue is pieces that commands are cut from, front to back. It reads the slice as
// it goes and does not change it.
type Queue struct {
	rest []Piece // rest[0] is not begun in its first skip blocks
	skip uint64
}

// NewQueue checks that the pieces are valid. They may overlap as far as the Queue
// is concerned; [Claim] refuses that.
func NewQueue(pieces []Piece) (*Queue, error) {
	for _, p := range pieces {
		if !p.Valid() {
			return nil, fmt.Errorf("%w: piece %v", ErrInvalid, p)
		}
	}
	return &Queue{rest: pieces}, nil
}

// Empty says that everything has been taken.
func (q *Queue) Empty() bool { return len(q.rest) == 0 }

// Front is what is left of the first piece of a queue that is not empty.
func (q *Queue) Front() Piece { return q.rest[0].From(q.skip) }

// Take removes the first n blocks of the front.
func (q *Queue) Take(n uint64) {
	q.skip += n
	if q.skip == q.rest[0].Blocks {
		q.rest, q.skip = q.rest[1:], 0
	}
}

// Rest appends what has not been taken yet to dst.
func (q *Queue) Rest(dst []Piece) []Piece {
	for i, p := range q.rest {
		if i == 0 {
			p = q.Front()
		}
		dst = append(dst, p)
	}
	return dst
}
