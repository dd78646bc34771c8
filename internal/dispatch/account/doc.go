// Package account counts what becomes of every byte of a copy: while it goes on, for whoever
// watches, and in the end, for the report. Nothing else of dispatch counts.
package account
