// Command parfait is a container registry. `parfait serve` runs it; see `parfait help`.
//
// It exits with 0 after success, 1 after a failure at work, and 2 if it was told something wrong: a flag, a
// configuration, a folder that cannot be written, an address that is taken.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/parfait-registry/parfait/registry"
)

// version is set by the Makefile; a plain `go install` knows its module's.
var version = ""

func main() {
	os.Exit(run(context.Background(), arguments(os.Args), os.Stdout, os.Stderr))
}

// arguments returns the arguments of a command line. By the name of htpasswd the program is that command, for those who
// know it as the entry point of the image registry:2.
func arguments(line []string) []string {
	if filepath.Base(line[0]) == "htpasswd" {
		return append([]string{"htpasswd"}, line[1:]...)
	}
	return line[1:]
}

// run does what args say and returns the exit status. SIGINT and SIGTERM cancel its work; a second one kills.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)

	root := newRoot()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	fmt.Fprintln(stderr, "parfait:", err)
	if _, ok := errors.AsType[*failure](err); ok {
		return 1
	}
	return 2
}

// A failure is an error at work. All others are the operator's to mend.
type failure struct{ error }

func (f *failure) Unwrap() error { return f.error }

// failed makes err a failure, if it is one.
func failed(err error) error {
	if err == nil {
		return nil
	}
	return &failure{err}
}

// refused is failed, save for a store that another server has, or of which the index is none: that is the operator's to
// mend.
func refused(err error) error {
	if errors.Is(err, registry.ErrRefused) {
		return err
	}
	return failed(err)
}

func newRoot() *cobra.Command {
	var o options
	root := &cobra.Command{
		Use:   "parfait",
		Short: "A container registry over a folder or an object store",
		Long: `A container registry over a folder or an object store.

The configuration is a flavor of a file. The environment variable SETTINGS_FLAVOR
chooses the flavor (default dev), and DOCKER_REGISTRY_CONFIG the file (default
config.yml, /etc/parfait/config.yml, or else the sample that is built in).

Exit status: 0 success, 1 a failure at work, 2 a mistake in what it was told.`,
		SilenceUsage:       true,
		SilenceErrors:      true,
		DisableSuggestions: true, // they take lines
	}
	root.PersistentFlags().StringVarP(&o.file, "config", "c", "", "configuration file (default $DOCKER_REGISTRY_CONFIG)")
	root.PersistentFlags().StringVarP(&o.flavor, "flavor", "f", "", "flavor of the file (default $SETTINGS_FLAVOR, or dev)")
	root.AddCommand(newServe(&o), newConfig(&o), newReindex(&o), newGC(&o), newImportV1(&o), newVerify(&o), newDoctor(&o), newHealthcheck(&o), newHtpasswd(), newCert(), newMan(), newVersion())
	return root
}

func newVersion() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintln(cmd.OutOrStdout(), "parfait", buildVersion())
			return failed(err)
		},
	}
}

func buildVersion() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		return strings.Trim(info.Main.Version, "()")
	}
	return "unknown"
}
