package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"slices"

	"github.com/opencontainers/go-digest"
	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"

	"github.com/parfait-registry/parfait/drivers"
	"github.com/parfait-registry/parfait/drivers/local"
	"github.com/parfait-registry/parfait/legacy"
	"github.com/parfait-registry/parfait/registry"
)

// An importV1 is a call of the command.
type importV1 struct {
	*options
	from   string
	rename map[string]string
	dryRun bool
}

func newImportV1(o *options) *cobra.Command {
	i := &importV1{options: o}
	cmd := &cobra.Command{
		Use:   "import-v1",
		Short: "Import the images of a docker-registry 0.x",
		Long: `Import the images of a docker-registry 0.x, which has the folders images and
repositories, into the registry that the flavor serves. They are looked for in
the same store, or in the one that --from names. Nothing is changed there.

library/app becomes app, which is how clients pulled it; other names and tags
stay. What is broken is left out and named on stderr, and the exit status is 1
then. A second run imports what is new or mended, and does not replace what was
pushed since. An import that was stopped goes on where it was.

On SQLite the server must not run meanwhile.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return i.run(cmd) },
	}
	cmd.Flags().StringVar(&i.from, "from", "", "flavor or folder of the old registry (default the store of --flavor)")
	cmd.Flags().StringToStringVar(&i.rename, "rename", nil, "give a repository another name, as in library/App=app")
	cmd.Flags().BoolVar(&i.dryRun, "dry-run", false, "change nothing, but say what would be imported")
	return cmd
}

func (i *importV1) run(cmd *cobra.Command) (err error) {
	s, err := i.load()
	if err != nil {
		return err
	}
	ctx, log := cmd.Context(), s.logger(cmd.ErrOrStderr())
	open := s.openStore
	if i.dryRun {
		open = s.openTrial
	}
	store, db, err := open(ctx, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, failed(db.Close()), closeStore(store)) }()
	tree, err := i.scan(ctx, s, store, log)
	if err != nil {
		return err
	}
	if i.dryRun {
		reg, err := registry.Look(ctx, s.registry, store, db, log)
		if err != nil {
			return failed(err)
		}
		return failed(i.importTree(cmd, legacy.Import{From: tree, To: reg, Store: store, DryRun: true}))
	}
	background := context.WithoutCancel(ctx) // what is under way is brought to its end
	reg, err := registry.Open(background, s.registry, store, db, log)
	if err != nil {
		return refused(err)
	}
	defer func() { err = errors.Join(err, failed(reg.Close(background))) }()
	return failed(i.importTree(cmd, legacy.Import{From: tree, To: reg, Store: store}))
}

// scan looks at the old store. store is the one of s.
func (i *importV1) scan(ctx context.Context, s *settings, store drivers.Driver, log *slog.Logger) (*legacy.Tree, error) {
	source, err := i.source(ctx, s, store, log)
	if err != nil {
		return nil, fmt.Errorf("--from: %w", err)
	}
	tree, err := legacy.Scan(ctx, source)
	if err != nil {
		return nil, fmt.Errorf("--from: %w", err)
	}
	for _, from := range slices.Sorted(maps.Keys(i.rename)) {
		if err := tree.Rename(from, i.rename[from]); err != nil {
			return nil, fmt.Errorf("--rename: %w", err)
		}
	}
	return tree, nil
}

// source opens the old store. A folder is opened as one, since a driver would try to write to it first.
func (i *importV1) source(ctx context.Context, s *settings, store drivers.Driver, log *slog.Logger) (legacy.Source, error) {
	old := s
	if i.from != "" {
		file, err := i.openFile()
		if err != nil {
			return nil, err
		}
		if !slices.Contains(file.Flavors(), i.from) {
			folder, err := legacy.OpenFolder(i.from)
			if errors.Is(err, fs.ErrNotExist) {
				err = fmt.Errorf("%q is neither a folder nor a flavor of %s", i.from, file.Name())
			}
			return folder, err
		}
		flavor, err := file.Flavor(i.from)
		if err != nil {
			return nil, err
		}
		if old, err = read(flavor); err != nil {
			return nil, err
		}
	}
	if at, ok := old.end.config.(*local.Config); ok {
		return legacy.OpenFolder(at.Path)
	}
	if old == s {
		return store, nil
	}
	return old.end.open(ctx, log)
}

func (i *importV1) importTree(cmd *cobra.Command, run legacy.Import) error {
	watch := &importWatch{out: cmd.OutOrStdout(), errs: cmd.ErrOrStderr(), verb: "imported"}
	if i.dryRun {
		watch.verb = "to be imported"
	}
	watch.bar = newBar(watch.errs, "importing", progressbar.OptionShowBytes(true))
	run.Watch = watch
	report, err := run.Run(cmd.Context())
	if err := errors.Join(err, watch.bar.Finish()); err != nil {
		return err
	}
	fmt.Fprintf(watch.out, "%d repositories: %d tags %s, %d imported before, %d things left out; %d layers with %d bytes\n",
		report.Repositories, report.Imported, watch.verb, report.Present, report.LeftOut, report.Layers, report.Bytes)
	if report.LeftOut > 0 {
		return fmt.Errorf("%d things were left out", report.LeftOut)
	}
	return nil
}

// An importWatch writes what happens above a bar.
type importWatch struct {
	out, errs io.Writer
	verb      string
	bar       *progressbar.ProgressBar
}

func (w *importWatch) Progress(p legacy.Progress) {
	w.bar.Describe(fmt.Sprintf("repository %d of %d", p.Done+1, p.Repositories))
	w.bar.Set64(p.Bytes)
}

func (w *importWatch) Imported(name, id string, to registry.Name, d digest.Digest) {
	w.bar.Clear()
	fmt.Fprintf(w.out, "%s: %s %s as %s %s\n", w.verb, name, id, to, d)
}

func (w *importWatch) LeftOut(name string, why error) {
	w.bar.Clear()
	fmt.Fprintf(w.errs, "left out: %s: %v\n", name, why)
}

func (w *importWatch) Private(name string) {
	w.bar.Clear()
	fmt.Fprintf(w.errs, "note: %s was private; who may pull it is now for the key access to say\n", name)
}
