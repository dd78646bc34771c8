package journal

// Sample is a digest of a place of the source, in 16 hexadecimal digits, or
// [Unread].
type Sample string

// Unread stands for a place that could not be read; it equals every other one.
const Unread Sample = "-"

func (s Sample) valid() bool {
	if s == Unread {
		return true
	}
	for _, c := range s {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return len(s) == 16
}

// differing counts the samples that are not what they were; all of them if
// there is another number of them.
func differing(was, now []Sample) int {
	if len(was) != len(now) {
		return max(len(was), len(now))
	}
	count := 0
	for i := range was {
		if was[i] != now[i] && was[i] != Unread && now[i] != Unread {
			count++
		}
	}
	return count
}
