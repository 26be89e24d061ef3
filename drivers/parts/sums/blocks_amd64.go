//go:build !purego

package sums

import "github.com/klauspost/cpuid/v2"

// haveBlocks says whether the processor has the instructions of blocks.
var haveBlocks = cpuid.CPU.Supports(cpuid.SHA, cpuid.SSSE3)

// blocks goes on with two hashes over whole blocks. Words are in the order of the instructions.
//
//go:noescape
func blocks(v, w *[8]uint32, b []byte)
