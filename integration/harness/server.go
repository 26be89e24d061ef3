package harness

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A Server is a registry in a process of its own. It ends with the test, and its log is shown if the test failed.
type Server struct {
	URL     string // http://host:port
	Addr    string // host:port
	PID     int
	Storage string // the folder it stores in

	t       testing.TB
	name    string
	log     string // file
	process *os.Process
	done    chan struct{} // closed when the process has ended
	status  int           // its exit status; -1 after a signal. Set before done is closed.
}

// A command says how to start a server on an address.
type command struct {
	name  string
	args  func(addr string) []string
	env   func(addr string) []string
	ready string // path that answers 200 once the server serves
}

const (
	startLimit = time.Minute
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
		s := launch(t, c, a)
		if s.waitReady(c.ready) {
			return s
		}
		if addr != "" || !strings.Contains(s.Log(), "address already in use") {
			t.Fatalf("%s does not start on %s", c.name, a)
		}
	}
	t.Fatalf("%s finds no free port", c.name)
	return nil
}

func freeAddr(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func launch(t testing.TB, c command, addr string) *Server {
	t.Helper()
	dir := t.TempDir()
	s := &Server{
		URL: "http://" + addr, Addr: addr, t: t, name: c.name,
		log: filepath.Join(dir, c.name+".log"), done: make(chan struct{}),
	}
	log, err := os.Create(s.log)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	args := c.args(addr)
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir = dir // so that no configuration is found in the working directory
	cmd.Env = append(environment(dir), c.env(addr)...)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s.process, s.PID = cmd.Process, cmd.Process.Pid
	go func() {
		_ = cmd.Wait()
		s.status = cmd.ProcessState.ExitCode()
		close(s.done)
	}()
	t.Cleanup(func() {
		s.Stop()
		if t.Failed() {
			t.Logf("log of %s on %s:\n%s", s.name, s.Addr, tail(s.Log(), 32<<10))
		}
	})
	return s
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
func (s *Server) waitReady(path string) bool {
	s.t.Helper()
	client := &http.Client{Timeout: 5 * time.Second}
	defer client.CloseIdleConnections()
	for deadline := time.Now().Add(startLimit); time.Now().Before(deadline); {
		resp, err := client.Get(s.URL + path)
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return !s.ended() // another process may answer on the port that this one did not get
			}
		}
		select {
		case <-s.done:
			return false
		case <-time.After(20 * time.Millisecond):
		}
	}
	s.t.Fatalf("%s does not serve on %s after %v", s.name, s.Addr, startLimit)
	return false
}

func (s *Server) ended() bool {
	select {
	case <-s.done:
		return true
	default:
		return false
	}
}

// Stop asks the server to end with SIGTERM, waits for that and returns the exit status, -1 if a signal ended it. Stop
// after the end returns it again.
func (s *Server) Stop() int {
	s.t.Helper()
	_ = s.process.Signal(syscall.SIGTERM) // it may have ended
	select {
	case <-s.done:
	case <-time.After(stopLimit):
		s.t.Errorf("%s runs %v after SIGTERM", s.name, stopLimit)
		s.Kill()
	}
	return s.status
}

// Kill ends the server with SIGKILL and waits for that.
func (s *Server) Kill() {
	_ = s.process.Kill() // it may have ended
	<-s.done
}

// Signal sends the server a signal.
func (s *Server) Signal(signal os.Signal) error { return s.process.Signal(signal) }

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
