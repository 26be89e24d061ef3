package main

import (
	"context"
	"log/slog"
	"net/http"
	"reflect"
	"slices"
	"sync/atomic"

	"github.com/parfait-registry/parfait/access"
	"github.com/parfait-registry/parfait/registry"
	"github.com/parfait-registry/parfait/server"
)

// A service is what serves, and can take over another configuration meanwhile.
type service struct {
	settings *settings
	again    func() (*settings, error) // reads them again
	keys     access.KeyStore
	registry *registry.Registry
	log      *slog.Logger
	level    *slog.LevelVar // of log
	handler  atomic.Pointer[server.Server]
}

// ServeHTTP answers a request by the configuration of this moment.
func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.handler.Load().ServeHTTP(w, r)
}

// reload reads the configuration again. If something is wrong with it, all stays as it is. What cannot change while the
// server runs keeps its value, and is named.
func (s *service) reload(ctx context.Context) {
	next, err := s.again()
	var level slog.Level
	var guard *access.Guard
	if err == nil {
		level, err = next.level()
	}
	if err == nil {
		guard, err = access.Open(ctx, next.access, s.keys, s.log)
	}
	if err != nil {
		s.log.Error("the configuration is what it was: the new one is not right", "err", err)
		return
	}
	changed, fixed := s.settings.changes(next)
	if len(fixed) > 0 {
		s.log.Warn("these keys have other values now, but change only with a restart", "keys", fixed)
	}
	for _, warning := range next.warnings {
		s.log.Warn(warning)
	}
	s.log.Info("configuration read again", "changed", changed)
	s.level.Set(level)
	s.registry.Reload(next.registry)
	next.keep(s.settings.server)
	s.handler.Store(s.handler.Load().With(next.server, guard))
	s.settings.process.LogLevel = next.process.LogLevel
	s.settings.server, s.settings.access, s.settings.registry = next.server, next.access, next.registry
}

// keep takes over from old what cannot change while the server runs.
func (s *settings) keep(old server.Config) {
	server := &s.server
	server.Version, server.Audit, server.Witness = old.Version, old.Audit, old.Witness
	server.Measure, server.Trace, server.Metrics = old.Measure, old.Trace, old.Metrics
	server.HTTPAddr, server.HTTP2Disabled, server.H2CEnabled = old.HTTPAddr, old.HTTP2Disabled, old.H2CEnabled
	server.HeaderTimeout, server.IdleTimeout = old.HeaderTimeout, old.IdleTimeout
}

// fixedOfServer are the keys that keep restores.
var fixedOfServer = [...]string{"http_addr", "http_http2_disabled", "http_h2c_enabled", "http_header_timeout", "http_idle_timeout"}

// changes returns the keys with other values in next: those that can change while the server runs, and those that cannot.
func (s *settings) changes(next *settings) (live, fixed []string) {
	now, then := s.structs(), next.structs()
	for i := range now {
		a, b := reflect.ValueOf(now[i]).Elem(), reflect.ValueOf(then[i]).Elem()
		for tag, value := range a.Fields() {
			key := tag.Tag.Get("yaml")
			if key == "" || key == "-" || reflect.DeepEqual(value.Interface(), b.FieldByIndex(tag.Index).Interface()) {
				continue
			}
			if s.isLive(now[i], key) {
				live = append(live, key)
			} else {
				fixed = append(fixed, key)
			}
		}
	}
	return distinct(live), distinct(fixed)
}

// isLive reports whether a key of one of the structs can change while the server runs.
func (s *settings) isLive(of any, key string) bool {
	switch of {
	case &s.access, &s.registry:
		return true
	case &s.server:
		return !slices.Contains(fixedOfServer[:], key)
	case &s.process:
		return key == "loglevel"
	}
	return false
}

// distinct sorts keys, of which several structs may have one.
func distinct(keys []string) []string {
	slices.Sort(keys)
	return slices.Compact(keys)
}
