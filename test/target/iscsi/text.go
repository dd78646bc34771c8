package iscsi

import (
	"fmt"
	"strings"
)

// pair is a key with its value. RFC 7143, 6.1.
type pair struct{ key, value string }

func parseText(data []byte) ([]pair, error) {
	var pairs []pair
	for _, text := range strings.Split(strings.TrimRight(string(data), "\x00"), "\x00") {
		if text == "" {
			continue
		}
		key, value, ok := strings.Cut(text, "=")
		if !ok || key == "" {
			return nil, fmt.Errorf("%w: %q is no key with a value", errProtocol, text)
		}
		pairs = append(pairs, pair{key, value})
	}
	return pairs, nil
}

func encodeText(pairs []pair) (b []byte) {
	for _, p := range pairs {
		b = append(b, p.key...)
		b = append(b, '=')
		b = append(b, p.value...)
		b = append(b, 0)
	}
	return b
}
