package hold

import "fmt"

// Error says which means of holding failed, on what, and why.
type Error struct {
	Means string // "anchor", "lvm lock", "cgroup"
	On    string
	Err   error
}

func (e *Error) Error() string { return fmt.Sprintf("hold: %s on %s: %v", e.Means, e.On, e.Err) }

// Unwrap gives access to sentinels and errnos.
func (e *Error) Unwrap() error { return e.Err }

func fail(means, on string, err error) error {
	if err == nil {
		return nil
	}
	return &Error{Means: means, On: on, Err: err}
}
