//go:build !purego

#include "textflag.h"

// K are the constants of the 64 rounds (FIPS 180-4, 4.2.2).
DATA K<>+0x00(SB)/8, $0x71374491428a2f98
DATA K<>+0x08(SB)/8, $0xe9b5dba5b5c0fbcf
DATA K<>+0x10(SB)/8, $0x59f111f13956c25b
DATA K<>+0x18(SB)/8, $0xab1c5ed5923f82a4
DATA K<>+0x20(SB)/8, $0x12835b01d807aa98
DATA K<>+0x28(SB)/8, $0x550c7dc3243185be
DATA K<>+0x30(SB)/8, $0x80deb1fe72be5d74
DATA K<>+0x38(SB)/8, $0xc19bf1749bdc06a7
DATA K<>+0x40(SB)/8, $0xefbe4786e49b69c1
DATA K<>+0x48(SB)/8, $0x240ca1cc0fc19dc6
DATA K<>+0x50(SB)/8, $0x4a7484aa2de92c6f
DATA K<>+0x58(SB)/8, $0x76f988da5cb0a9dc
DATA K<>+0x60(SB)/8, $0xa831c66d983e5152
DATA K<>+0x68(SB)/8, $0xbf597fc7b00327c8
DATA K<>+0x70(SB)/8, $0xd5a79147c6e00bf3
DATA K<>+0x78(SB)/8, $0x1429296706ca6351
DATA K<>+0x80(SB)/8, $0x2e1b213827b70a85
DATA K<>+0x88(SB)/8, $0x53380d134d2c6dfc
DATA K<>+0x90(SB)/8, $0x766a0abb650a7354
DATA K<>+0x98(SB)/8, $0x92722c8581c2c92e
DATA K<>+0xa0(SB)/8, $0xa81a664ba2bfe8a1
DATA K<>+0xa8(SB)/8, $0xc76c51a3c24b8b70
DATA K<>+0xb0(SB)/8, $0xd6990624d192e819
DATA K<>+0xb8(SB)/8, $0x106aa070f40e3585
DATA K<>+0xc0(SB)/8, $0x1e376c0819a4c116
DATA K<>+0xc8(SB)/8, $0x34b0bcb52748774c
DATA K<>+0xd0(SB)/8, $0x4ed8aa4a391c0cb3
DATA K<>+0xd8(SB)/8, $0x682e6ff35b9cca4f
DATA K<>+0xe0(SB)/8, $0x78a5636f748f82ee
DATA K<>+0xe8(SB)/8, $0x8cc7020884c87814
DATA K<>+0xf0(SB)/8, $0xa4506ceb90befffa
DATA K<>+0xf8(SB)/8, $0xc67178f2bef9a3f7
GLOBL K<>(SB), RODATA|NOPTR, $256

// flip turns the bytes of each word round.
DATA flip<>+0(SB)/8, $0x0405060700010203
DATA flip<>+8(SB)/8, $0x0c0d0e0f08090a0b
GLOBL flip<>(SB), RODATA|NOPTR, $16

// X1 and X2 are the first hash, X8 and X9 the second; X3 to X6 the sixteen words of the message that were last
// scheduled; X10 is flip, and AX points to K.

// LOAD takes words 4i to 4i+3 of the block.
#define LOAD(i, words) \
	MOVOU  (i*16)(SI), words \
	PSHUFB X10, words

// NEXT schedules four words more, in place of the oldest.
#define NEXT(oldest, older, newer, newest) \
	SHA256MSG1 older, oldest      \
	MOVO       newest, X7         \
	PALIGNR    $4, newer, X7      \
	PADDD      X7, oldest         \
	SHA256MSG2 newest, oldest

// ROUNDS does rounds 4i to 4i+3 of both hashes. Neither waits for the other.
#define ROUNDS(i, words) \
	MOVO        words, X0        \
	PADDD       (i*16)(AX), X0   \
	SHA256RNDS2 X0, X1, X2       \
	SHA256RNDS2 X0, X8, X9       \
	PSHUFD      $0x0e, X0, X0    \
	SHA256RNDS2 X0, X2, X1       \
	SHA256RNDS2 X0, X9, X8

// func blocks(v, w *[8]uint32, b []byte)
TEXT ·blocks(SB), NOSPLIT, $0-40
	MOVQ  v+0(FP), DI
	MOVQ  w+8(FP), BX
	MOVQ  b_base+16(FP), SI
	MOVQ  b_len+24(FP), DX
	LEAQ  K<>(SB), AX
	MOVOU flip<>(SB), X10
	MOVOU 0(DI), X1
	MOVOU 16(DI), X2
	MOVOU 0(BX), X8
	MOVOU 16(BX), X9
	ADDQ  SI, DX
	JMP   more

block:
	MOVO X1, X11
	MOVO X2, X12
	MOVO X8, X13
	MOVO X9, X14
	LOAD(0, X3)
	ROUNDS(0, X3)
	LOAD(1, X4)
	ROUNDS(1, X4)
	LOAD(2, X5)
	ROUNDS(2, X5)
	LOAD(3, X6)
	ROUNDS(3, X6)
	NEXT(X3, X4, X5, X6)
	ROUNDS(4, X3)
	NEXT(X4, X5, X6, X3)
	ROUNDS(5, X4)
	NEXT(X5, X6, X3, X4)
	ROUNDS(6, X5)
	NEXT(X6, X3, X4, X5)
	ROUNDS(7, X6)
	NEXT(X3, X4, X5, X6)
	ROUNDS(8, X3)
	NEXT(X4, X5, X6, X3)
	ROUNDS(9, X4)
	NEXT(X5, X6, X3, X4)
	ROUNDS(10, X5)
	NEXT(X6, X3, X4, X5)
	ROUNDS(11, X6)
	NEXT(X3, X4, X5, X6)
	ROUNDS(12, X3)
	NEXT(X4, X5, X6, X3)
	ROUNDS(13, X4)
	NEXT(X5, X6, X3, X4)
	ROUNDS(14, X5)
	NEXT(X6, X3, X4, X5)
	ROUNDS(15, X6)
	PADDD X11, X1
	PADDD X12, X2
	PADDD X13, X8
	PADDD X14, X9
	ADDQ  $64, SI

more:
	CMPQ  SI, DX
	JB    block
	MOVOU X1, 0(DI)
	MOVOU X2, 16(DI)
	MOVOU X8, 0(BX)
	MOVOU X9, 16(BX)
	RET
