//go:build unix

package main

import "syscall"

// Settle writes out what the last measurement left in the page cache, so that the next one does not pay for it.
func settle() { syscall.Sync() }
