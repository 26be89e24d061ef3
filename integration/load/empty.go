package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path"
	"strings"
	"sync"
	"time"
)

// The argument that makes this program the empty handler. It is for startEmpty alone.
const emptyFlag = "-serve-the-empty-handler"

// StartEmpty runs the empty handler in a process of its own, so that its CPU time can be told from this one's.
func startEmpty(ctx context.Context) (address string, pid int, stop func(), err error) {
	stop = func() {}
	program, err := os.Executable()
	if err != nil {
		return "", 0, stop, err
	}
	cmd := exec.CommandContext(ctx, program, emptyFlag)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return "", 0, stop, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return "", 0, stop, err
	}
	if err := cmd.Start(); err != nil {
		return "", 0, stop, err
	}
	stop = func() {
		stdin.Close()
		_ = cmd.Wait()
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		return "", 0, stop, fmt.Errorf("start the empty handler: %w", err)
	}
	return strings.TrimSpace(line), cmd.Process.Pid, stop, nil
}

// ServeEmpty prints its URL and serves until stdin, which the parent holds, ends.
func serveEmpty(stdin io.Reader, stdout, stderr io.Writer) int {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Fprintln(stderr, "load:", err)
		return 1
	}
	server := &http.Server{Handler: &emptyHandler{}, ReadHeaderTimeout: time.Minute}
	go func() {
		_, _ = io.Copy(io.Discard, stdin)
		server.Close()
	}()
	fmt.Fprintf(stdout, "http://%s\n", listener.Addr())
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		fmt.Fprintln(stderr, "load:", err)
		return 1
	}
	return 0
}

// An emptyHandler answers a push as a registry does but keeps nothing, apart from the manifests, which it serves by the
// last part of the path, and the digests of blobs, so that HEAD can tell a new one.
type emptyHandler struct {
	kept sync.Map // last part of the path → []byte
}

func (h *emptyHandler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name := path.Base(r.URL.Path)
	switch r.Method {
	case http.MethodGet:
		if payload, ok := h.kept.Load(name); ok {
			w.Write(payload.([]byte))
		}
	case http.MethodHead:
		if _, ok := h.kept.Load(name); !ok {
			w.WriteHeader(http.StatusNotFound)
		}
	case http.MethodPost:
		w.Header().Set("Location", "/upload")
		w.WriteHeader(http.StatusAccepted)
	case http.MethodPatch:
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Location", "/upload")
		w.WriteHeader(http.StatusAccepted)
	case http.MethodPut:
		if digest := r.URL.Query().Get("digest"); digest != "" {
			_, _ = io.Copy(io.Discard, r.Body)
			h.kept.Store(digest, []byte(nil))
		} else if payload, err := io.ReadAll(r.Body); err == nil {
			h.kept.Store(name, payload)
		}
		w.WriteHeader(http.StatusCreated)
	}
}
