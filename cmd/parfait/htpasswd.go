package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"

	"github.com/parfait-registry/parfait/access"
)

// htpasswd is what was typed.
type htpasswd struct {
	stdin          io.Reader
	stdout, stderr io.Writer

	create, print, remove, verify bool // what to do, instead of changing a user in a file
	batch, pipe                   bool // where the password is, instead of being asked for
	cost                          int
	file, user, password          string
}

func newHtpasswd() *cobra.Command {
	return &cobra.Command{
		Use:   "htpasswd [-B] [-c|-D|-v] [-b|-i] [-C cost] file user [password]",
		Short: "Add users to the password file, change and remove them",
		Long: `Add users to the password file that auth_htpasswd_path names, change and remove
them, as Apache's tool of that name does. A server that runs notices by itself.

  parfait htpasswd -c file user    make a new file with one user
  parfait htpasswd file user       add a user, or change the password of one
  parfait htpasswd -D file user    remove a user
  parfait htpasswd -v file user    say whether a password is right
  parfait htpasswd -n user         print the line of a user, and write no file

  -b   take the password from the command line, where others may see it
  -i   take the password from standard input
  -B   hash with bcrypt, which is always done
  -C   cost of the hash, 4 to 17: each step doubles the time of a login (default 10)`,
		DisableFlagParsing:    true, // -c is the configuration elsewhere, and the file here, as Apache has it
		DisableFlagsInUseLine: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			h := &htpasswd{stdin: cmd.InOrStdin(), stdout: cmd.OutOrStdout(), stderr: cmd.ErrOrStderr()}
			switch err := h.parse(args); {
			case errors.Is(err, pflag.ErrHelp):
				return cmd.Help()
			case err != nil:
				return err
			}
			return h.run()
		},
	}
}

// parse reads the command line.
func (h *htpasswd) parse(args []string) error {
	flags := pflag.NewFlagSet("htpasswd", pflag.ContinueOnError)
	flags.Usage = func() {}
	flags.BoolVarP(&h.create, "create", "c", false, "")
	flags.BoolVarP(&h.print, "print", "n", false, "")
	flags.BoolVarP(&h.remove, "delete", "D", false, "")
	flags.BoolVarP(&h.verify, "verify", "v", false, "")
	flags.BoolVarP(&h.batch, "batch", "b", false, "")
	flags.BoolVarP(&h.pipe, "stdin", "i", false, "")
	flags.BoolP("bcrypt", "B", true, "")
	flags.IntVarP(&h.cost, "cost", "C", access.DefaultCost, "")
	var weak [7]bool
	for i, letter := range "mspd25r" {
		flags.BoolVarP(&weak[i], "weak-"+string(letter), string(letter), false, "")
	}
	if err := flags.Parse(args); err != nil {
		return err
	}
	acts := 0
	for _, act := range []bool{h.create, h.print, h.remove, h.verify} {
		if act {
			acts++
		}
	}
	switch {
	case weak != [7]bool{}:
		return errors.New("passwords are hashed with bcrypt alone: say -B, or nothing")
	case acts > 1:
		return errors.New("-c, -n, -D and -v are different things to do: choose one")
	case h.batch && h.pipe:
		return errors.New("-b and -i are different places of the password: choose one")
	case h.cost < access.MinCost || h.cost > access.MaxCost:
		return fmt.Errorf("-C: %d is not from %d to %d", h.cost, access.MinCost, access.MaxCost)
	}
	return h.names(flags.Args())
}

// names reads what stands behind the flags.
func (h *htpasswd) names(args []string) error {
	want := []*string{&h.file, &h.user, &h.password}
	usage := "file user password"
	if h.print {
		want, usage = want[1:], "user password"
	}
	if !h.batch || h.remove {
		want, usage = want[:len(want)-1], strings.TrimSuffix(usage, " password")
	}
	if len(args) != len(want) {
		return fmt.Errorf("%d arguments, where there should be %d: %s; see parfait help htpasswd", len(args), len(want), usage)
	}
	for i, arg := range args {
		*want[i] = arg
	}
	return access.CheckUser(h.user)
}

func (h *htpasswd) run() error {
	var data []byte
	if !h.print && !h.create {
		var err error
		if data, err = os.ReadFile(h.file); errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%w; -c makes a new one", err)
		} else if err != nil {
			return err
		}
	}
	file := access.ParseHtpasswd(data)
	if h.remove {
		return h.removeFrom(file)
	}
	if err := h.readPassword(); err != nil {
		return err
	}
	if h.verify {
		return h.verifyIn(file)
	}
	hash, err := access.HashPassword(h.password, h.cost)
	if err != nil {
		return err
	}
	done := "Updating"
	if file.Set(h.user, hash) {
		done = "Adding"
	}
	if h.print {
		_, err := h.stdout.Write(file.Bytes())
		return failed(err)
	}
	if err := replace(h.file, file.Bytes()); err != nil {
		return err
	}
	fmt.Fprintf(h.stderr, "%s password for user %s\n", done, h.user)
	return nil
}

func (h *htpasswd) removeFrom(file *access.Htpasswd) error {
	if !file.Remove(h.user) {
		fmt.Fprintf(h.stderr, "User %s not found\n", h.user)
		return nil
	}
	if err := replace(h.file, file.Bytes()); err != nil {
		return err
	}
	fmt.Fprintf(h.stderr, "Deleting password for user %s\n", h.user)
	return nil
}

func (h *htpasswd) verifyIn(file *access.Htpasswd) error {
	switch known, right := file.Verify(h.user, h.password); {
	case !known:
		return failed(fmt.Errorf("user %s is not in %s, or has no password that is stored with bcrypt", h.user, h.file))
	case !right:
		return failed(errors.New("password verification failed"))
	}
	fmt.Fprintf(h.stderr, "Password for user %s correct.\n", h.user)
	return nil
}

// readPassword gets the password from where it is.
func (h *htpasswd) readPassword() error {
	switch {
	case h.batch:
	case h.pipe:
		line, err := bufio.NewReader(h.stdin).ReadString('\n')
		if err != nil && (err != io.EOF || line == "") {
			return fmt.Errorf("-i: read the password from standard input: %w", err)
		}
		h.password = strings.TrimRight(line, "\r\n")
	default:
		terminal, ok := h.stdin.(*os.File)
		if !ok || !term.IsTerminal(int(terminal.Fd())) {
			return errors.New("there is no terminal to ask for the password: use -i, or -b")
		}
		return h.ask(terminal)
	}
	return nil
}

// ask asks a person, twice where a slip would go unnoticed.
func (h *htpasswd) ask(terminal *os.File) error {
	prompts := []string{"New password: ", "Re-type new password: "}
	if h.verify {
		prompts = []string{"Enter password: "}
	}
	var answers []string
	for _, prompt := range prompts {
		fmt.Fprint(h.stderr, prompt)
		answer, err := term.ReadPassword(int(terminal.Fd()))
		fmt.Fprintln(h.stderr)
		if err != nil {
			return fmt.Errorf("read the password: %w", err)
		}
		answers = append(answers, string(answer))
	}
	h.password = answers[0]
	if answers[len(answers)-1] != h.password {
		return errors.New("the two passwords are not the same")
	}
	return nil
}

// replace writes a file such that whoever reads it sees the old one or the new one. Mode and owner stay as they were.
func replace(path string, data []byte) error {
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target // the link stays one
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // in vain once it is renamed
	if err := errors.Join(fill(f, path, data), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// fill makes f what is to be at path.
func fill(f *os.File, path string, data []byte) error {
	mode := fs.FileMode(0o644)
	old, err := os.Stat(path)
	if err == nil {
		mode = old.Mode().Perm()
		keepOwner(f, old)
	}
	if err := f.Chmod(mode); err != nil {
		return err
	}
	if _, err := f.Write(data); err != nil {
		return err
	}
	return f.Sync()
}
