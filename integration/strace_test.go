package integration

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/parfait-registry/parfait/integration/harness"
)

// A tracedServer is a server whose system calls are written down.
type tracedServer struct {
	*harness.Server
	t      *testing.T
	prefix string // of the files, one for each thread
}

// traceParfait starts the server under strace, which is to look at some system calls only.
func traceParfait(t *testing.T, store, calls string, env ...string) *tracedServer {
	t.Helper()
	prefix := filepath.Join(t.TempDir(), "calls")
	o := quiet(store)
	o.Env = append(o.Env, env...)
	o.Wrap = []string{harness.Command(t, "strace"), "-D", "-ff", "-o", prefix, "-ttt", "-T", "-y", "-s", "600", "--seccomp-bpf", "-e", "trace=" + calls}
	return &tracedServer{harness.StartParfait(t, o), t, prefix}
}

// A sysCall is a line of strace.
type sysCall struct {
	name       string
	args       string
	result     int64
	start, end time.Time
}

// file is the file, or directory, that the call was made on.
func (c sysCall) file() string {
	if m := regexp.MustCompile(`^\d+<([^>]*)>`).FindStringSubmatch(c.args); m != nil {
		return m[1]
	}
	return ""
}

// paths are the quoted arguments of a call.
func (c sysCall) paths() []string {
	var paths []string
	for _, m := range regexp.MustCompile(`"([^"\\]*)"`).FindAllStringSubmatch(c.args, -1) {
		paths = append(paths, m[1])
	}
	return paths
}

func (c sysCall) String() string {
	return fmt.Sprintf("%s %s(%s)", c.start.Format("05.000000"), c.name, c.args)
}

// stop stops the server and returns its successful calls in the order of their ends.
func (s *tracedServer) stop() []sysCall {
	s.t.Helper()
	stopWell(s.t, s.Server)
	var calls []sysCall
	for _, file := range s.files() {
		calls = append(calls, s.read(file)...)
	}
	slices.SortFunc(calls, func(a, b sysCall) int { return a.end.Compare(b.end) })
	return calls
}

// files waits until strace has written everything, which may be later than the end of the server.
func (s *tracedServer) files() []string {
	s.t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		files, err := filepath.Glob(s.prefix + ".*")
		if err != nil {
			s.t.Fatal(err)
		}
		open := slices.ContainsFunc(files, func(file string) bool {
			text, err := os.ReadFile(file)
			return err != nil || !strings.Contains(string(text), " +++ ")
		})
		if len(files) > 0 && !open {
			return files
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("strace has not ended: %q", files)
		}
	}
}

var sysCallLine = regexp.MustCompile(`^(\d+\.\d+) (\w+)\((.*)\) += (\S+).* <(\d+\.\d+)>$`)

func (s *tracedServer) read(file string) (calls []sysCall) {
	s.t.Helper()
	f, err := os.Open(file)
	if err != nil {
		s.t.Fatal(err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		m := sysCallLine.FindStringSubmatch(lines.Text())
		if m == nil || strings.HasPrefix(m[4], "-") {
			continue // a signal, or a call that failed
		}
		result, err := strconv.ParseInt(m[4], 10, 64)
		if err != nil {
			continue // of a call that returns no number
		}
		start := time.Unix(0, 0).Add(seconds(s.t, m[1]))
		calls = append(calls, sysCall{name: m[2], args: m[3], result: result, start: start, end: start.Add(seconds(s.t, m[5]))})
	}
	if err := lines.Err(); err != nil {
		s.t.Fatal(err)
	}
	return calls
}

func seconds(t *testing.T, s string) time.Duration {
	t.Helper()
	whole, fraction, _ := strings.Cut(s, ".")
	n, err := strconv.ParseInt(whole+(fraction + "000000000")[:9], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return time.Duration(n)
}
