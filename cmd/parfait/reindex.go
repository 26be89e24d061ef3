package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/parfait-registry/parfait/drivers"
	"github.com/parfait-registry/parfait/index"
	"github.com/parfait-registry/parfait/registry"
)

func newReindex(o *options) *cobra.Command {
	var check bool
	cmd := &cobra.Command{
		Use:   "reindex",
		Short: "Rebuild the index from the store",
		Long: `Rebuild the index from the store, whoever has written that. The server must not
run meanwhile. If it fails or is interrupted, the index is what it was; one that
was not this store's, or older than the store, is empty then, and so is made
anew by the next start.

What is broken in the store is left out and named on stderr.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return o.onStore(cmd, func(_ *settings, store drivers.Driver, db *index.DB, log *slog.Logger) error {
				if check {
					return failed(compare(cmd, store, db, log))
				}
				return refused(reindex(cmd, store, db, log))
			})
		},
	}
	cmd.Flags().BoolVar(&check, "check", false, "change nothing, but say how index and store differ; exit with 1 if they do")
	return cmd
}

// reindex fills db and says how far it is.
func reindex(cmd *cobra.Command, store drivers.Driver, db *index.DB, log *slog.Logger) error {
	stderr := cmd.ErrOrStderr()
	bar := newBar(stderr, "reading the store")
	report, err := registry.Rebuild(cmd.Context(), store, db, log, func(string) { bar.Add(1) })
	if err := errors.Join(err, bar.Finish()); err != nil {
		return err
	}
	for _, problem := range report.Problems {
		fmt.Fprintln(stderr, "left out:", problem)
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "%d repositories, %d manifests, %d tags, %d layers; %d things left out\n",
		report.Repositories, report.Manifests, report.Tags, report.Layers, len(report.Problems))
	return err
}

// compare builds a second index from the store and prints the facts that only one of the two has.
func compare(cmd *cobra.Command, store drivers.Driver, db *index.DB, log *slog.Logger) (err error) {
	dir, err := os.MkdirTemp("", "parfait-check-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	other, err := index.Open(cmd.Context(), index.Config{Database: filepath.Join(dir, "index.db")}, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, other.Close()) }()
	if _, err := registry.Read(cmd.Context(), store, other); err != nil {
		return err
	}
	differ := 0
	for _, side := range []struct {
		only     string
		has, not *index.DB
	}{{"index", db, other}, {"store", other, db}} {
		facts, err := difference(cmd.Context(), side.has, side.not)
		if err != nil {
			return err
		}
		differ += len(facts)
		for _, fact := range facts {
			fmt.Fprintf(cmd.OutOrStdout(), "only in the %s: %s\n", side.only, fact)
		}
	}
	if w, err := db.Walk(cmd.Context(), index.Adoption); err != nil || differ > 0 && w.UnderWay {
		return errors.Join(err, fmt.Errorf("index and store differ in %d facts; the server has not come to the end of the store yet", differ))
	}
	if differ > 0 {
		return fmt.Errorf("index and store differ in %d facts; parfait reindex makes the index what the store shows", differ)
	}
	return nil
}

// difference returns the facts of a that b lacks.
func difference(ctx context.Context, a, b *index.DB) (facts []string, err error) {
	known := make(map[string]bool)
	for fact, err := range b.Facts(ctx) {
		if err != nil {
			return nil, err
		}
		known[fact] = true
	}
	for fact, err := range a.Facts(ctx) {
		if err != nil {
			return nil, err
		}
		if !known[fact] {
			facts = append(facts, fact)
		}
	}
	return facts, nil
}
