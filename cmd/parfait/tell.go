package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/parfait-registry/parfait/events"
	"github.com/parfait-registry/parfait/flavors"
	"github.com/parfait-registry/parfait/index"
	"github.com/parfait-registry/parfait/mail"
	"github.com/parfait-registry/parfait/server"
)

// eventsConfig has the group of the events.
type eventsConfig struct {
	// Notifications says who is told of what clients do. Default: nobody.
	Notifications events.Config `yaml:"notifications"`
}

// exceptionsConfig has the group of the mail about errors. Some older files have the keys of that outside of it.
type exceptionsConfig struct {
	// Mail says who is told of errors. Default: nobody.
	Mail mail.Config `yaml:"email_exceptions"`
}

// mail is the configuration of mail, wherever the flavor has it.
func (s *settings) mail() mail.Config {
	cfg := s.exceptions.Mail.Or(s.flatMail)
	cfg.Mask, cfg.RequestID = flavors.Mask, server.RequestID
	cfg.About = fmt.Sprintf("parfait %s, flavor %s,", buildVersion(), s.server.Flavor)
	return cfg
}

// mailTimeout bounds the last mail.
const mailTimeout = 5 * time.Second

// openMail returns log such that its errors are mailed, if anybody wants them. The caller calls end last.
func (s *settings) openMail(ctx context.Context, watch *instruments, log *slog.Logger) (_ *slog.Logger, end func(), err error) {
	trustRoots()
	cfg := s.mail()
	watch.watchMail(&cfg)
	mailer, err := mail.Open(ctx, cfg, log)
	if mailer == nil || err != nil {
		return log, func() {}, err
	}
	return slog.New(mailer.Handler(log.Handler())), func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), mailTimeout)
		defer cancel()
		mailer.Close(ctx)
	}, nil
}

// openEvents has the server tell what clients do, if anybody wants to know. The caller calls end before it closes db.
func (s *settings) openEvents(ctx context.Context, db *index.DB, watch *instruments, log *slog.Logger) (end func() error, err error) {
	cfg := s.events.Notifications
	_, cfg.Port, _ = net.SplitHostPort(s.server.WithDefaults().HTTPAddr) // which is listened on, or the start fails
	watch.watchEvents(&cfg)
	told, err := events.Open(ctx, cfg, db, log)
	if told == nil || err != nil {
		return func() error { return nil }, err
	}
	s.server.Witness = told
	return func() error { return told.Close(ctx) }, nil
}
