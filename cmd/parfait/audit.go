package main

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"gopkg.in/natefinch/lumberjack.v2"

	"github.com/parfait-registry/parfait/server"
)

// auditConfig has the keys of the audit. Zero means the default.
type auditConfig struct {
	// Log is where a line of JSON is written for each push, delete, login that failed and request that was denied: stdout,
	// stderr or a file. Default: nowhere.
	Log string `yaml:"audit_log"`
	// MaxSize is how long the file gets, in bytes, before it is renamed and a new one begun. Default: 100MiB.
	MaxSize int64 `yaml:"audit_log_max_size" flavor:"bytes"`
	// MaxAge is for how long renamed files are kept, and MaxFiles how many of them. Default: for ever, all.
	MaxAge   time.Duration `yaml:"audit_log_max_age"`
	MaxFiles int           `yaml:"audit_log_max_files"`
}

// open returns what writes the audit, nil for nothing. The caller closes the closer.
func (c auditConfig) open(stdout, stderr io.Writer, log *slog.Logger) (*slog.Logger, io.Closer, error) {
	var out io.Writer
	var closer io.Closer = io.NopCloser(nil)
	switch c.Log {
	case "":
		return nil, closer, nil
	case "stdout":
		out = stdout
	case "stderr":
		out = stderr
	default:
		file, err := c.file()
		if err != nil {
			return nil, closer, fmt.Errorf("audit_log: %w", err)
		}
		out, closer = file, file
	}
	out = &watched{Writer: out, log: log}
	return slog.New(server.NameRequests(slog.NewJSONHandler(out, &slog.HandlerOptions{ReplaceAttr: asAudit}))), closer, nil
}

// file opens the file once, to know that it can be written, and then in turns.
func (c auditConfig) file() (*lumberjack.Logger, error) {
	path, err := filepath.Abs(c.Log)
	if err != nil {
		return nil, err
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	if err := file.Close(); err != nil {
		return nil, err
	}
	const mebi, day = 1 << 20, 24 * time.Hour
	size := c.MaxSize
	if size <= 0 {
		size = 100 * mebi
	}
	return &lumberjack.Logger{
		Filename:   path,
		MaxSize:    int((size + mebi - 1) / mebi),
		MaxAge:     int((c.MaxAge + day - 1) / day),
		MaxBackups: c.MaxFiles,
	}, nil
}

// asAudit names the parts of a line.
func asAudit(groups []string, a slog.Attr) slog.Attr {
	switch {
	case len(groups) > 0:
	case a.Key == slog.LevelKey:
		return slog.Attr{}
	case a.Key == slog.MessageKey:
		a.Key = "action"
	}
	return a
}

// A watched writer complains in the log when lines of the audit are lost.
type watched struct {
	io.Writer
	log  *slog.Logger
	mu   sync.Mutex
	fuss string // the last complaint; guarded by mu
}

func (w *watched) Write(p []byte) (int, error) {
	n, err := w.Writer.Write(p)
	complaint := ""
	if err != nil {
		complaint = err.Error()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if complaint != "" && complaint != w.fuss {
		w.log.Error("lines of the audit are lost", "err", err)
	}
	w.fuss = complaint
	return n, err
}
