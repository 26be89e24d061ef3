package harness

import (
	"os"
	"os/exec"
	"syscall"
)

// Bind has cmd run as a in a process group of its own, and get the signal orphan when this process dies.
func bind(cmd *exec.Cmd, a *account, orphan syscall.Signal) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: orphan}
	if a != nil {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(a.uid), Gid: uint32(a.gid)}
	}
}

// KillAll kills a process and what it has started, as far as that did not leave its process group.
func killAll(p *os.Process) { _ = syscall.Kill(-p.Pid, syscall.SIGKILL) }
