//go:build !linux

package harness

import (
	"os"
	"os/exec"
	"syscall"
)

// Bind does nothing here: cmd runs as the own account. An interrupt from the terminal reaches the servers too, as they
// share the process group of the tests.
func bind(*exec.Cmd, *account, syscall.Signal) {}

func killAll(p *os.Process) { _ = p.Kill() }
