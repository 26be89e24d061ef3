package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/parfait-registry/parfait/doctor"
	"github.com/parfait-registry/parfait/drivers"
	"github.com/parfait-registry/parfait/drivers/local"
	"github.com/parfait-registry/parfait/flavors"
	"github.com/parfait-registry/parfait/index"
	"github.com/parfait-registry/parfait/registry"
)

// checkLimit bounds one check, so that a store that does not answer holds up no other.
const checkLimit = time.Minute

func newDoctor(o *options) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Look for what keeps a server from working, and say how to mend it",
		Long: `Look for what keeps a server of this flavor from working, or soon will: in its
configuration, store, index, clocks, certificate, password file, address, disk
and limits. Each check is one line on stdout, with what to do about it:

  ok    all is well
  warn  it works, but not for ever, or not all of it
  fail  it does not work
  skip  could not be checked

It may run beside servers, as the user that they run as. What it writes to the
store is below parfait/doctor.*, and removed again; nothing else is changed.

Exit status: 0 if nothing failed, 1 if something did, 2 a mistake in what it was
told.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			d := examine(cmd.Context(), o, printer(cmd.OutOrStdout(), asJSON))
			if n := d.Count(doctor.Fail); n > 0 {
				return failed(fmt.Errorf("%d of %d checks failed", n, n+d.Count(doctor.OK)+d.Count(doctor.Warn)))
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "write each line as a JSON object")
	return cmd
}

// printer returns what prints findings.
func printer(w io.Writer, asJSON bool) func(doctor.Finding) {
	return func(f doctor.Finding) {
		if asJSON {
			_ = json.NewEncoder(w).Encode(f)
			return
		}
		fmt.Fprintln(w, f)
	}
}

// An examination is a call of the command.
type examination struct {
	*doctor.Report
	*settings
	indexFile string // of SQLite; empty if there is none
}

// examine looks at everything. What cannot be looked at because of something else is left out.
func examine(ctx context.Context, o *options, found func(doctor.Finding)) *doctor.Report {
	x := &examination{Report: doctor.NewReport(found)}
	if x.settings = x.config(o); x.settings == nil {
		return x.Report
	}
	trustRoots()
	for _, check := range []func(context.Context){x.store, x.index, x.certificate, x.users, x.address} {
		limited, cancel := context.WithTimeout(ctx, checkLimit)
		check(limited)
		cancel()
	}
	x.space()
	doctor.Files(x.Report)
	return x.Report
}

// config reads all flavors, and returns the chosen one, or nil if that cannot be served.
func (x *examination) config(o *options) *settings {
	const check, fix = "config", "see parfait config check"
	file, err := o.openFile()
	if err != nil {
		x.Fail(check, "", "%v", err)
		return nil
	}
	flavor, err := o.chosen(file)
	var s *settings
	if err == nil {
		s, err = read(flavor)
	}
	if err != nil {
		for line := range strings.Lines(err.Error()) {
			x.Fail(check, "", "%s", line)
		}
		return nil
	}
	for _, warning := range s.warnings {
		x.Warn(check, "", "%s", warning)
	}
	if others := unfit(file, flavor.Name()); len(others) > 0 && !file.BuiltIn() {
		x.Warn(check, fix, "other flavors of %s cannot be served: %s", file.Name(), strings.Join(others, ", "))
	}
	x.OK(check, "flavor %s of %s, storage: %s", flavor.Name(), file.Name(), s.process.Storage)
	return s
}

// unfit returns the names of the flavors other than chosen that cannot be served.
func unfit(file *flavors.File, chosen string) (names []string) {
	if chosen == "" {
		return nil // the file has no flavors
	}
	for _, name := range file.Flavors() {
		flavor, err := file.Flavor(name)
		if err == nil {
			_, err = read(flavor)
		}
		if err != nil && !(name == "common" && errors.Is(err, errNoStorage)) {
			names = append(names, name)
		}
	}
	return names
}

// store tries the back end out. A folder is tried in a new one below it: to open the folder itself is to bring to their
// ends the writes of a server that was killed.
func (x *examination) store(ctx context.Context) {
	if cfg, ok := x.end.config.(*local.Config); ok {
		x.folder(ctx, *cfg)
		return
	}
	log := x.Logger("store")
	store, err := x.end.open(ctx, log)
	if err != nil {
		x.Fail("store", "", "%v", err)
		return
	}
	defer closeStore(store)
	doctor.Store(ctx, x.Report, store, x.registry.Redirect)
	x.holder(ctx, store)
}

// holder says who has a store without locks.
func (x *examination) holder(ctx context.Context, store drivers.Driver) {
	const check = "store lease"
	switch who, shared, err := registry.Holder(ctx, store); {
	case err != nil:
		x.Fail(check, "", "%v", err)
	case who == "":
		x.OK(check, "no server has the store")
	case shared:
		x.OK(check, "servers with one index have the store, the first of them %s", who)
	default:
		x.OK(check, "the store is that of %s; servers with other indexes are refused", who)
	}
}

func (x *examination) index(ctx context.Context) {
	const check = "index"
	cfg := x.settings.index
	cfg.Default = x.end.index()
	found, err := index.Inspect(ctx, cfg, x.Logger(check))
	x.indexFile = found.File
	if err != nil {
		x.Fail(check, "", "%v", err)
		return
	}
	switch {
	case found.New:
		x.OK(check, "%s has none yet: serve makes it", found.Place)
	case found.Version == "":
		x.OK(check, "%s", found.Place)
	case found.Pending > 0:
		x.OK(check, "%s in %s; the next start brings it up to date, with %d migrations", found.Place, found.Version, found.Pending)
	default:
		x.OK(check, "%s in %s, up to date", found.Place, found.Version)
	}
	if found.InUse != "" {
		x.OK("index in use", "by %s", found.InUse)
	}
	if found.Unchecked != "" {
		x.Skip("index pages", "not checked: %s", found.Unchecked)
	} else if found.File != "" && !found.New {
		x.OK("index pages", "all are whole")
	}
	if found.Most > 0 {
		x.postgres(found)
	}
}

// postgres reports what has to do with a server.
func (x *examination) postgres(found index.Inspection) {
	const check, fix = "index pool", "raise max_connections of PostgreSQL, or lower index_pool_size"
	if free := found.Most - found.Connections; free < found.Pool {
		x.Warn(check, fix, "a server makes up to %d connections, and %d of %d are free now", found.Pool, free, found.Most)
	} else {
		x.OK(check, "up to %d connections, %d of %d are free; an answer takes %v", found.Pool, free, found.Most, found.Took.Round(time.Microsecond))
	}
	doctor.Clock(x.Report, "index clock", "the database's clock", found.Ahead)
}
