package main

import (
	"context"
	"errors"
	"io"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/parfait-registry/parfait/drivers"
	"github.com/parfait-registry/parfait/index"
)

// onStore opens the store and the index of the flavor for as long as a command works on them.
func (o *options) onStore(cmd *cobra.Command, work func(s *settings, store drivers.Driver, db *index.DB, log *slog.Logger) error) (err error) {
	s, err := o.load()
	if err != nil {
		return err
	}
	log := s.logger(cmd.ErrOrStderr())
	store, db, err := s.openStore(cmd.Context(), log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, failed(db.Close()), closeStore(store)) }()
	return work(s, store, db, log)
}

// openStore opens the back end, then the index.
func (s *settings) openStore(ctx context.Context, log *slog.Logger) (drivers.Driver, *index.DB, error) {
	cfg := s.index
	cfg.Default = s.end.index()
	return s.openStoreWith(ctx, cfg, log)
}

// openTrial is openStore with an index that goes when it is closed.
func (s *settings) openTrial(ctx context.Context, log *slog.Logger) (drivers.Driver, *index.DB, error) {
	return s.openStoreWith(ctx, index.Config{}, log)
}

func (s *settings) openStoreWith(ctx context.Context, cfg index.Config, log *slog.Logger) (drivers.Driver, *index.DB, error) {
	trustRoots()
	store, err := s.end.open(ctx, log)
	if err != nil {
		return nil, nil, err
	}
	db, err := index.Open(ctx, cfg, log)
	return store, db, err
}

// closeStore ends a back end that has something to end. The index that names what is in it is closed before.
func closeStore(store drivers.Driver) error {
	if c, ok := drivers.As[io.Closer](store); ok {
		return failed(c.Close())
	}
	return nil
}
