package main

import (
	"errors"
	"fmt"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/parfait-registry/parfait/drivers"
	"github.com/parfait-registry/parfait/index"
	"github.com/parfait-registry/parfait/registry"
)

func newGC(o *options) *cobra.Command {
	var dry, sweep bool
	cmd := &cobra.Command{
		Use:   "gc",
		Short: "Collect what nothing refers to any more",
		Long: `Collect what nothing refers to any more, as the server does all the time: blobs
that no manifest names, after gc_grace, and untagged manifests, after gc_untagged.

With an index in PostgreSQL, servers may run meanwhile. With one in SQLite none
can, and none has to be helped.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return o.onStore(cmd, func(s *settings, store drivers.Driver, db *index.DB, log *slog.Logger) error {
				gc, err := registry.OpenGC(cmd.Context(), s.registry, store, db, log)
				if err != nil {
					return failed(err)
				}
				release, err := gc.Take(cmd.Context())
				if err != nil {
					return refused(err)
				}
				defer release()
				if dry {
					return failed(foretell(cmd, gc, sweep))
				}
				return failed(collect(cmd, gc, sweep))
			})
		},
	}
	cmd.Flags().BoolVar(&dry, "dry-run", false, "change nothing, but name all that would go")
	cmd.Flags().BoolVar(&sweep, "sweep", false, "first compare all that is in the store with the index; what the index does not know\nof goes in a collection after gc_grace")
	return cmd
}

// collect collects, and says how far it is.
func collect(cmd *cobra.Command, gc *registry.GC, sweep bool) error {
	if sweep {
		bar := newBar(cmd.ErrOrStderr(), "reading the store")
		found, err := gc.Sweep(cmd.Context(), func() { bar.Add(1) })
		if err := errors.Join(err, bar.Finish()); err != nil {
			return err
		}
		if err := printSwept(cmd, found); err != nil {
			return err
		}
	}
	bar := newBar(cmd.ErrOrStderr(), "collecting")
	done, err := gc.Collect(cmd.Context(), func(blobs int) { bar.Add(blobs) })
	if err := errors.Join(err, bar.Finish()); err != nil {
		return err
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "collected %d manifests and %d blobs of %d bytes\n", done.Manifests, done.Blobs, done.Bytes)
	return err
}

func printSwept(cmd *cobra.Command, found registry.Swept) error {
	_, err := fmt.Fprintf(cmd.OutOrStdout(), "in the store and not in the index: %d blobs of %d bytes, %d links, %d parts of uploads; missing in the store: %d blobs\n",
		found.Unknown, found.Bytes, found.Links, found.Parts, found.Missing)
	return err
}

// foretell names what would go, a line for each thing.
func foretell(cmd *cobra.Command, gc *registry.GC, sweep bool) error {
	out := cmd.OutOrStdout()
	if sweep {
		bar := newBar(cmd.ErrOrStderr(), "reading the store")
		var doomed []registry.Doomed
		found, err := gc.Sweepable(cmd.Context(), func(d registry.Doomed) { doomed = append(doomed, d) }, func() { bar.Add(1) })
		if err := errors.Join(err, bar.Finish()); err != nil {
			return err
		}
		for _, d := range doomed {
			fmt.Fprintln(out, d)
		}
		if err := printSwept(cmd, found); err != nil {
			return err
		}
	}
	var sum registry.Collected
	for d, err := range gc.Doomed(cmd.Context()) {
		if err != nil {
			return err
		}
		switch d.Kind {
		case registry.DoomedManifest:
			sum.Manifests++
		case registry.DoomedBlob:
			sum.Blobs++
			sum.Bytes += d.Size
		}
		fmt.Fprintln(out, d)
	}
	_, err := fmt.Fprintf(out, "would collect %d manifests and %d blobs of %d bytes\n", sum.Manifests, sum.Blobs, sum.Bytes)
	return err
}
