package harness

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// A Server is a program that serves, in a process of its own. It ends with the test, and its log is shown if the test
// failed. If this process dies before that, its servers die with it, on Linux.
type Server struct {
	URL     string // http://host:port, or https
	Addr    string // host:port
	PID     int
	Storage string // the folder it stores in

	t       testing.TB
	command command
	home    string // its working folder
	log     string // file
	cmd     *exec.Cmd
	done    chan struct{} // closed when the process and all that it has started have ended
}

// Running is a Parfait on addr that somebody else has started, and stops: it has no PID, and no log here.
func Running(addr string) *Server {
	return &Server{URL: "http://" + addr, Addr: addr, command: command{name: "parfait"}}
}

// A command says how to start a server on an address.
type command struct {
	name   string
	args   func(addr string) []string
	env    func(addr string) []string // nil: none
	ready  func(addr string) error    // nil once the server serves
	home   string                     // where it runs; empty: a new folder
	user   *account                   // who runs it; nil: whoever runs the tests
	stop   os.Signal                  // ends it in order; nil: SIGTERM
	orphan syscall.Signal             // ends it when this process has died; 0: SIGKILL
}

const (
	startLimit = 2 * time.Minute // Swift takes up to half a minute on a busy machine
	stopLimit  = time.Minute
)

// Start runs a command and waits until it serves. With no address it takes a free port of the loopback interface; as
// another process may take that port in between, it tries again then.
func start(t testing.TB, c command, addr string) *Server {
	t.Helper()
	for range 3 {
		a := addr
		if a == "" {
			a = freeAddr(t)
		}
		s := newServer(t, c, a)
		s.launch()
		if s.waitReady() {
			return s
		}
		if addr != "" || !s.portTaken() {
			t.Fatalf("%s does not start on %s", c.name, a)
		}
	}
	t.Fatalf("%s finds no free port", c.name)
	return nil
}

// portsTaken counts the ports that this process took from its first one on. None is taken twice: clients such as skopeo
// remember, beyond a test, what they have seen at an address.
var portsTaken, firstPort = new(atomic.Int32), rand.Int32N(portCount)

const (
	lowestPort = 10000 // all are below those that systems give to outgoing connections
	portCount  = 20000
)

// FreeAddr is an address of the loopback interface that is the test's alone. Its UDP namesake is held: so the address is
// still free when a server that was stopped starts again, and no other test process takes it.
func freeAddr(t testing.TB) string {
	t.Helper()
	var errs []error
	for range 100 {
		addr := fmt.Sprintf("127.0.0.1:%d", lowestPort+(firstPort+portsTaken.Add(1))%portCount)
		claim, err := net.ListenPacket("udp", addr)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		l, err := net.Listen("tcp", addr)
		if err != nil {
			claim.Close()
			errs = append(errs, err)
			continue
		}
		l.Close()
		t.Cleanup(func() { claim.Close() })
		return addr
	}
	t.Fatalf("no free port: %v", errors.Join(errs...))
	return ""
}

// Port is the port of an address.
func port(addr string) string { return addr[strings.LastIndexByte(addr, ':')+1:] }

func newServer(t testing.TB, c command, addr string) *Server {
	t.Helper()
	dir := t.TempDir()
	s := &Server{
		URL: "http://" + addr, Addr: addr, t: t, command: c, home: c.home,
		log: filepath.Join(dir, c.name+".log"),
	}
	if s.home == "" {
		s.home = dir
	}
	if s.command.stop == nil {
		s.command.stop = syscall.SIGTERM
	}
	if s.command.orphan == 0 {
		s.command.orphan = syscall.SIGKILL
	}
	return s
}

// Launch starts the process.
func (s *Server) launch() {
	s.t.Helper()
	log, err := os.OpenFile(s.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		s.t.Fatal(err)
	}
	defer log.Close()
	args := s.command.args(s.Addr)
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir = s.home // so that no configuration is found in the working directory
	cmd.Env = environment(s.home)
	if s.command.env != nil {
		cmd.Env = append(cmd.Env, s.command.env(s.Addr)...)
	}
	cmd.Stdout, cmd.Stderr = log, log
	bind(cmd, s.command.user, s.command.orphan)
	done, err := begin(cmd)
	if err != nil {
		s.t.Fatal(err)
	}
	if s.cmd == nil {
		s.t.Cleanup(s.cleanup)
	}
	s.cmd, s.PID, s.done = cmd, cmd.Process.Pid, done
}

// Begin starts cmd. Done is closed when the process has ended, and each that it has started: they inherit a pipe that
// ends with the last of them.
func begin(cmd *exec.Cmd) (done chan struct{}, err error) {
	alive, inherited, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	cmd.ExtraFiles = []*os.File{inherited}
	started, done := make(chan error), make(chan struct{})
	go func() {
		defer close(done)
		defer alive.Close()
		runtime.LockOSThread() // to Linux, the end of the thread that has started a process is the end of its parent
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		inherited.Close()
		started <- err
		if err != nil {
			return
		}
		_ = cmd.Wait() // it leaves the status in cmd
		_, _ = io.Copy(io.Discard, alive)
	}()
	return done, <-started
}

func (s *Server) cleanup() {
	s.Stop()
	if s.t.Failed() {
		s.t.Logf("log of %s on %s:\n%s", s.command.name, s.Addr, tail(s.Log(), 32<<10))
	}
}

// Environment is what a server gets of ours: nothing that could configure it.
func environment(home string) []string {
	env := []string{"HOME=" + home}
	for _, name := range []string{"PATH", "TMPDIR", "GOCOVERDIR", "GORACE", "GOTRACEBACK"} {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	return env
}

// WaitReady says whether the server came to serve. A server that neither serves nor ends fails the test.
func (s *Server) waitReady() bool {
	s.t.Helper()
	var err error
	for deadline := time.Now().Add(startLimit); time.Now().Before(deadline); {
		if err = s.command.ready(s.Addr); err == nil {
			return !s.ended() // another process may answer on the port that this one did not get
		}
		select {
		case <-s.done:
			return false
		case <-time.After(20 * time.Millisecond):
		}
	}
	s.t.Fatalf("%s does not serve on %s after %v: %v", s.command.name, s.Addr, startLimit, err)
	return false
}

// Answers says of a server that it is ready when it answers a GET of path well.
func answers(path string) func(addr string) error {
	return func(addr string) error {
		_, _, err := ask(context.Background(), http.MethodGet, "http://"+addr+path, nil, "")
		return err
	}
}

// Listens says of a server that it is ready when it takes connections.
func listens(addr string) error {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	return conn.Close()
}

func (s *Server) ended() bool {
	select {
	case <-s.done:
		return true
	default:
		return false
	}
}

// PortTaken says whether the server has ended because its port is another's. Each program words it its own way.
func (s *Server) portTaken() bool {
	log := strings.ToLower(s.Log())
	return strings.Contains(log, "already in use") || strings.Contains(log, "eaddrinuse")
}

// Start starts the server again after Stop or Kill, on the same address and folder, and waits until it serves.
func (s *Server) Start() {
	s.t.Helper()
	if !s.ended() {
		s.t.Fatalf("%s runs on %s", s.command.name, s.Addr)
	}
	s.launch()
	if !s.waitReady() {
		s.t.Fatalf("%s does not start again on %s", s.command.name, s.Addr)
	}
}

// Stop asks the server to end, with SIGTERM unless it wants another signal, waits for that and returns the exit status,
// -1 if a signal ended it. Stop after the end returns it again.
func (s *Server) Stop() int {
	s.t.Helper()
	_ = s.cmd.Process.Signal(s.command.stop) // it may have ended
	select {
	case <-s.done:
	case <-time.After(stopLimit):
		s.t.Errorf("%s runs %v after %v", s.command.name, stopLimit, s.command.stop)
		killAll(s.cmd.Process)
		<-s.done
	}
	return s.cmd.ProcessState.ExitCode()
}

// Kill ends the server with SIGKILL and waits for that.
func (s *Server) Kill() {
	_ = s.cmd.Process.Kill() // it may have ended
	<-s.done
}

// Signal sends the server a signal.
func (s *Server) Signal(signal os.Signal) error { return s.cmd.Process.Signal(signal) }

// Done is closed when the server has ended.
func (s *Server) Done() <-chan struct{} { return s.done }

// Log is what the server has printed so far, on both outputs.
func (s *Server) Log() string {
	log, err := os.ReadFile(s.log)
	if err != nil {
		return fmt.Sprintf("no log: %v", err)
	}
	return string(log)
}

// Tail is the end of text, at most n bytes, from the start of a line on.
func tail(text string, n int) string {
	if len(text) <= n {
		return text
	}
	text = text[len(text)-n:]
	return "…" + text[strings.IndexByte(text, '\n')+1:]
}
