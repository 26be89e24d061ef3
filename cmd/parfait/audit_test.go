package main

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestAuditFile writes more to a file than it may hold.
func TestAuditFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "audit.log")
	audit, end, err := auditConfig{Log: path, MaxSize: 1 << 20, MaxFiles: 2}.open(nil, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	for range 5000 {
		audit.Info("push", "result", "ok", "user_agent", strings.Repeat("x", 300))
	}
	if err := end.Close(); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "audit*.log"))
	if err != nil || len(files) != 2 {
		t.Fatalf("got files %q, %v, want the one that is written and one that was renamed", files, err)
	}
	lines := 0
	for _, file := range files {
		info, err := os.Stat(file)
		if err != nil || info.Size() > 1<<20 || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: got %v, %v, want at most 1 MiB that others cannot read", file, info, err)
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			var l map[string]any
			if err := json.Unmarshal([]byte(line), &l); err != nil || l["action"] != "push" || l["level"] != nil || l["time"] == nil {
				t.Fatalf("got line %s, %v", line, err)
			}
			lines++
		}
	}
	if lines != 5000 {
		t.Errorf("got %d lines, want 5000", lines)
	}
}

func TestAuditStreams(t *testing.T) {
	for _, name := range []string{"stdout", "stderr"} {
		out := map[string]*bytes.Buffer{"stdout": {}, "stderr": {}}
		audit, _, err := auditConfig{Log: name}.open(out["stdout"], out["stderr"], nil)
		if err != nil {
			t.Fatal(err)
		}
		audit.Info("push")
		if !strings.Contains(out[name].String(), `"action":"push"`) || out["stdout"].Len() > 0 && out["stderr"].Len() > 0 {
			t.Errorf("%s: got %q", name, out)
		}
	}
	if audit, _, err := (auditConfig{}).open(nil, nil, nil); audit != nil || err != nil {
		t.Errorf("got %v, %v, want no audit", audit, err)
	}
}

// TestAuditLost has a disk that is full: the log says so once.
func TestAuditLost(t *testing.T) {
	var log bytes.Buffer
	audit, _, err := auditConfig{Log: "stdout"}.open(full{}, nil, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		audit.Info("push")
	}
	if n := strings.Count(log.String(), "level=ERROR"); n != 1 {
		t.Errorf("got %d complaints, want 1: %s", n, log.String())
	}
}

type full struct{}

func (full) Write([]byte) (int, error) { return 0, fs.ErrInvalid }
