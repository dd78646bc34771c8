package remap

// Tests may be as large as they like.
type inTest struct{ a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p int }
