package harness

import (
	"os"
	"os/exec"
	"syscall"
)

// Bind has cmd run in a process group of its own, and end when this process dies.
func bind(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// KillAll kills a process and what it has started, as far as that did not leave its process group.
func killAll(p *os.Process) { _ = syscall.Kill(-p.Pid, syscall.SIGKILL) }
