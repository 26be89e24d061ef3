package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"

	"github.com/parfait-registry/parfait/drivers"
	"github.com/parfait-registry/parfait/flavors"
	"github.com/parfait-registry/parfait/index"
	"github.com/parfait-registry/parfait/registry"
)

// A verify is a call of the command.
type verify struct {
	*options
	rate                  string
	repair, restart, json bool
}

func newVerify(o *options) *cobra.Command {
	v := &verify{options: o}
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Hash all blobs, and compare store and index",
		Long: `Hash all blobs, and compare store and index: sizes, and links both ways. What is
not as it should be is one line each on stdout. One that was stopped goes on
where it was.

With --repair, links and sizes are corrected, manifests get their bytes from the
index, and other bad blobs are moved to parfait/quarantine/ in the store: they
are unknown then until an image with them is pushed again. What nobody knows of
is only named: collection, or an operator, may remove it.

On SQLite the server must not run meanwhile; beside PostgreSQL it may. A server
verifies by itself if it has a verify_interval.

Exit status: 0 if all is well, 1 if there was something to name, mended or not,
or if it could not be seen, 2 a mistake in what it was told.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return v.run(cmd) },
	}
	cmd.Flags().StringVar(&v.rate, "rate", "100MiB", "bytes to read in a second, at most; 0 is no bound")
	cmd.Flags().BoolVar(&v.repair, "repair", false, "mend what can be mended")
	cmd.Flags().BoolVar(&v.restart, "restart", false, "begin anew, where the last one was stopped")
	cmd.Flags().BoolVar(&v.json, "json", false, "write each line as a JSON object")
	return cmd
}

func (v *verify) run(cmd *cobra.Command) error {
	rate, ok := flavors.ParseBytes(v.rate)
	if !ok {
		return fmt.Errorf("--rate: %q is no size such as 100MiB", v.rate)
	}
	return v.onStore(cmd, func(_ *settings, store drivers.Driver, db *index.DB, log *slog.Logger) error {
		return v.verify(cmd, rate, store, db, log)
	})
}

// verify walks, and names what it finds.
func (v *verify) verify(cmd *cobra.Command, rate int64, store drivers.Driver, db *index.DB, log *slog.Logger) error {
	last, err := db.Walk(cmd.Context(), index.Verification)
	if err != nil {
		return failed(err)
	}
	if last.UnderWay && last.Reached != "" && !v.restart {
		fmt.Fprintln(cmd.ErrOrStderr(), "going on where the last one was stopped, with what that has counted; --restart begins anew")
	}
	out := cmd.OutOrStdout()
	bar := newBar(cmd.ErrOrStderr(), "verifying", progressbar.OptionShowBytes(true))
	verified, err := registry.Verify(cmd.Context(), registry.Verifier{
		Store: store, Index: db, Rate: rate, Repair: v.repair, Restart: v.restart, Alone: db.Exclusive(),
		Found: func(f registry.Finding) {
			bar.Clear()
			v.print(out, f, f.String())
		},
		Progress: func(so registry.Verified) {
			bar.Describe(fmt.Sprintf("%d blobs, %d links", so.Blobs, so.Links))
			bar.Set64(so.Bytes)
		},
	}, log)
	if errors.Is(err, context.Canceled) {
		err = errors.New("stopped; the next parfait verify goes on from here")
	}
	if err := errors.Join(err, bar.Finish()); err != nil {
		return refused(err)
	}
	v.print(out, verified, fmt.Sprintf("%d blobs with %d bytes, %d links: %d findings, %d of them mended",
		verified.Blobs, verified.Bytes, verified.Links, verified.Findings, verified.Mended))
	if verified.Findings > 0 {
		return failed(fmt.Errorf("%d things were not as they should be", verified.Findings))
	}
	return nil
}

// print writes a line of text, or what it says as JSON.
func (v *verify) print(w io.Writer, what any, text string) {
	if v.json {
		_ = json.NewEncoder(w).Encode(what)
		return
	}
	fmt.Fprintln(w, text)
}
