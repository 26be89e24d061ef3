package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"

	"golang.org/x/term"

	"github.com/parfait-registry/parfait"
	"github.com/parfait-registry/parfait/access"
	"github.com/parfait-registry/parfait/certs"
	"github.com/parfait-registry/parfait/drivers/local"
	"github.com/parfait-registry/parfait/flavors"
	"github.com/parfait-registry/parfait/index"
	"github.com/parfait-registry/parfait/mail"
	"github.com/parfait-registry/parfait/metrics"
	"github.com/parfait-registry/parfait/registry"
	"github.com/parfait-registry/parfait/server"
	"github.com/parfait-registry/parfait/traces"
)

// options are the flags that all sub-commands share.
type options struct{ file, flavor string }

// settings are a flavor, read.
type settings struct {
	process    processConfig
	debug      debugConfig
	audit      auditConfig
	server     server.Config
	certs      certs.Config
	access     access.Config
	registry   registry.Config
	index      index.Config
	metrics    metrics.Config
	events     eventsConfig
	exceptions exceptionsConfig
	flatMail   mail.Config // as some older files have it
	ends       map[string]backEnd

	end      backEnd // the one that the flavor chooses
	warnings []string
}

// processConfig has the keys that the command itself reads.
type processConfig struct {
	// Storage names the back end: local, s3, gcs, swift, azureblob, blob or mem. No default.
	Storage string `yaml:"storage"`
	// LogLevel is debug, info, warn or error. Default info.
	LogLevel string `yaml:"loglevel"`
	// LogFormat is text or json. Default text on a terminal, else json.
	LogFormat string `yaml:"log_format"`
}

// openFile reads the configuration file.
func (o *options) openFile() (*flavors.File, error) {
	return flavors.Load(flavors.Source{
		File:   cmp.Or(o.file, os.Getenv("DOCKER_REGISTRY_CONFIG")),
		Sample: parfait.Sample,
	})
}

// chosen returns the flavor that the flag or the environment names. REGISTRY_STORAGE is how the image registry:2 is told
// its back end; SETTINGS_FLAVOR wins, even if it is empty.
func (o *options) chosen(f *flavors.File) (*flavors.Flavor, error) {
	if o.flavor != "" {
		return f.Flavor(o.flavor)
	}
	_, set := os.LookupEnv("SETTINGS_FLAVOR")
	if storage := os.Getenv("REGISTRY_STORAGE"); storage != "" && !set {
		flavor, err := f.Flavor("registry-" + storage)
		if err != nil {
			return nil, fmt.Errorf("REGISTRY_STORAGE: %w", err)
		}
		return flavor, nil
	}
	return f.Chosen()
}

// flat reports whether the file is chosen without flavors.
func (o *options) flat() bool {
	name, set := os.LookupEnv("SETTINGS_FLAVOR")
	return o.flavor == "" && set && name == ""
}

// load reads the chosen flavor.
func (o *options) load() (*settings, error) {
	file, err := o.openFile()
	if err != nil {
		return nil, err
	}
	flavor, err := o.chosen(file)
	if err != nil {
		return nil, err
	}
	return read(flavor)
}

// read takes a flavor apart, and checks what can be checked without opening anything.
func read(flavor *flavors.Flavor) (*settings, error) {
	s := &settings{ends: newBackEnds()}
	s.server.Flavor = flavor.Name()
	var err error
	if s.warnings, err = flavor.Decode(obsolete(), s.structs()...); err != nil {
		return nil, err
	}
	if s.end, err = pick(s.ends, strings.ToLower(s.process.Storage)); err != nil {
		return nil, err
	}
	if _, err := s.level(); err != nil {
		return nil, err
	}
	if _, files := s.end.config.(*local.Config); !files && s.server.NginxXAccelRedirect != "" {
		s.server.NginxXAccelRedirect = ""
		s.warnings = append(s.warnings, "nginx_x_accel_redirect has no effect: nginx can send files of storage: local alone; see storage_redirect")
	}
	switch s.process.LogFormat {
	case "", "text", "json", "logstash":
	default:
		return nil, fmt.Errorf("log_format: %q is neither text nor json", s.process.LogFormat)
	}
	return s, errors.Join(s.server.Check(), s.certs.Check(), s.access.Check(), s.registry.Check(), s.index.Check(), s.debug.check(),
		s.events.Notifications.Check(), s.mail().Check(), s.checkUsersOfCertificates())
}

// checkUsersOfCertificates reports that users are to be told by certificates that nobody checks.
func (s *settings) checkUsersOfCertificates() error {
	if s.access.ByCertificate() && !s.certs.VerifiesClients() {
		return errors.New("auth_certificate: no certificates of clients are verified: name those who sign them in http_tls_clientcas, " +
			"and see http_tls_clientauth")
	}
	return nil
}

// structs are the homes of all keys, in a fixed order.
func (s *settings) structs() []any {
	all := []any{&s.process, &s.debug, &s.audit, &s.server, &s.certs, &s.access, &s.registry, &s.index, &s.metrics, &s.events, &s.exceptions, &s.flatMail}
	for _, name := range slices.Sorted(maps.Keys(s.ends)) {
		if config := s.ends[name].config; config != nil {
			all = append(all, config)
		}
	}
	return all
}

// level reads the names of levels that Python has, too.
func (s *settings) level() (slog.Level, error) {
	switch name := strings.ToLower(s.process.LogLevel); name {
	case "":
		return slog.LevelInfo, nil
	case "warning":
		return slog.LevelWarn, nil
	case "critical", "fatal":
		return slog.LevelError, nil
	default:
		var level slog.Level
		if err := level.UnmarshalText([]byte(name)); err != nil {
			return 0, fmt.Errorf("loglevel: %q is none of debug, info, warn and error", s.process.LogLevel)
		}
		return level, nil
	}
}

// logger writes to w as the flavor has it, beginning with what is to be said of the flavor itself.
func (s *settings) logger(w io.Writer) *slog.Logger {
	log, _ := s.adjustableLogger(w)
	return log
}

// adjustableLogger is logger with what sets its level.
func (s *settings) adjustableLogger(w io.Writer) (*slog.Logger, *slog.LevelVar) {
	level := new(slog.LevelVar)
	if l, err := s.level(); err == nil { // else read has refused it
		level.Set(l)
	}
	var h slog.Handler
	if s.process.LogFormat == "text" || s.process.LogFormat == "" && isTerminal(w) {
		h = slog.NewTextHandler(w, &slog.HandlerOptions{Level: level})
	} else {
		h = slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level, ReplaceAttr: inSeconds})
	}
	log := slog.New(server.NameRequests(traces.NameLines(h)))
	for _, warning := range s.warnings {
		log.Warn(warning)
	}
	return log, level
}

// inSeconds writes durations as programs want them: JSON would have nanoseconds.
func inSeconds(_ []string, a slog.Attr) slog.Attr {
	if a.Value.Kind() == slog.KindDuration {
		a.Value = slog.Float64Value(a.Value.Duration().Seconds())
	}
	return a
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
