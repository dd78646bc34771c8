// Package machine says what a copy needs of the system around it.
package machine
