package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"
)

func newConfig(o *options) *cobra.Command {
	config := &cobra.Command{
		Use:   "config",
		Short: "Check and show the configuration",
		Args:  cobra.NoArgs, // so that a misspelt sub-command is an error
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	config.AddCommand(
		&cobra.Command{
			Use:   "check",
			Short: "Read every flavor of the file as serve would, and say what is wrong",
			Long: `Read every flavor of the file as serve would, and say what is wrong. The exit
status is 2 if one cannot be served.

Without a file that is the built-in one. It has flavors of back ends that are
gone, so that who chooses one is told what to use instead: they are noted, and
are an error only if they are chosen. With an empty SETTINGS_FLAVOR the file is
read as one configuration without flavors.`,
			Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error { return checkConfig(cmd, o) },
		},
		&cobra.Command{
			Use:   "show",
			Short: "Print a flavor with all that it inherits, and where each value is from",
			Args:  cobra.NoArgs,
			RunE:  func(cmd *cobra.Command, _ []string) error { return showConfig(cmd, o) },
		},
	)
	return config
}

func checkConfig(cmd *cobra.Command, o *options) error {
	file, err := o.openFile()
	if err != nil {
		return err
	}
	out := cmd.OutOrStdout()
	if o.flat() {
		flavor, err := file.Flat()
		if err != nil {
			return err
		}
		s, err := read(flavor)
		if err == nil {
			tellOK(out, file.Name(), s)
		}
		return err
	}
	var chosen string
	if file.BuiltIn() {
		flavor, err := o.chosen(file)
		if err != nil {
			return err
		}
		chosen = flavor.Name()
	}
	wrong := 0
	for _, name := range file.Flavors() {
		flavor, err := file.Flavor(name)
		if err != nil {
			return err
		}
		s, err := read(flavor)
		_, gone := errors.AsType[*goneError](err)
		switch {
		case name == "common" && errors.Is(err, errNoStorage): // it is there to be inherited
			fmt.Fprintf(out, "%s: ok\n", name)
		case gone && file.BuiltIn() && name != chosen:
			fmt.Fprintf(out, "%s: note: %v\n", name, err)
		case err != nil:
			wrong++
			fmt.Fprintf(out, "%s: %v\n", name, err)
		default:
			tellOK(out, name, s)
		}
	}
	if wrong > 0 {
		return fmt.Errorf("%s: %d of its flavors cannot be served", file.Name(), wrong)
	}
	return nil
}

func tellOK(out io.Writer, name string, s *settings) {
	fmt.Fprintf(out, "%s: ok\n", name)
	for _, warning := range s.warnings {
		fmt.Fprintf(out, "%s: note: %s\n", name, warning)
	}
}

func showConfig(cmd *cobra.Command, o *options) error {
	file, err := o.openFile()
	if err != nil {
		return err
	}
	flavor, err := o.chosen(file)
	if err != nil {
		return err
	}
	s := &settings{ends: newBackEnds()}
	return failed(flavor.Show(cmd.OutOrStdout(), s.structs()...))
}
