// Load measures container registries against each other. It takes any number of them by URL, runs each scenario on
// one after the other, round by round, and prints the medians and how they compare to the first as Markdown tables:
//
//	go run ./integration/load -rounds 3 parfait=http://127.0.0.1:5001 distribution=http://127.0.0.1:5002 empty
//
// The word "empty" without a URL adds a bare Go handler in a process of its own that stores nothing: the yardstick of
// what net/http, the loopback and this program cost by themselves. With -pid name=pid the CPU time and the peak memory
// of a server are read from /proc (Linux) and reported for each operation.
//
// The scenarios are pushes and pulls of big blobs, whole or in ranges; pushes of small images, of images of many layers
// and of such in repositories of their own; pushes and pulls at once; GETs and HEADs; tags; and pages of lists. Some run
// only when -scenario names them: many big blobs at once, and GETs beside a client that makes work for a collection,
// which the servers are to be configured for. The flag -h lists them all.
//
// Every answer is checked: its status, its digests, its lists, and each byte that comes back. A wrong one of the target
// that the others are compared to ends the run with exit status 1. One of another target ends that scenario for it: the
// tables have a dash there, and standard error the reason. What is pushed is new in each run and stays on the server.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// Options are what the command line says.
type options struct {
	scenarios []scenario
	targets   []string // name=url, or the word empty
	base      string   // name of the target that the others are compared to
	pids      map[string]int
	rounds    int
	limits
}

// Limits bound the work of the scenarios.
type limits struct {
	blob    int64         // bytes of a big blob
	time    time.Duration // of a scenario that counts operations
	clients int           // of a crowd; every other scenario has a number of its own
	images  int           // at most, in one round
	tags    int           // put on one manifest
	repos   int           // in the catalog
	pages   int           // of a list, asked for one by one
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	if len(args) == 1 && args[0] == emptyFlag {
		return serveEmpty(os.Stdin, stdout, stderr)
	}
	o, err := parse(args, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil {
		fmt.Fprintln(stderr, "load:", err)
		return 2
	}
	results, err := measureAll(ctx, o, stderr)
	if err != nil {
		fmt.Fprintln(stderr, "load:", err)
		return 1
	}
	fmt.Fprintf(stdout, "%s/%s, %d CPUs, %s; medians over rounds: %d; × compares %s to the others\n\n",
		runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), runtime.Version(), o.rounds, o.base)
	results.write(stdout)
	return 0
}

func parse(args []string, stderr io.Writer) (*options, error) {
	o := &options{pids: map[string]int{}, limits: limits{blob: 512 << 20}}
	flags := flag.NewFlagSet("load", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() {
		fmt.Fprintf(stderr, "usage: load [flags] name=url... [empty]\n\n")
		flags.PrintDefaults()
		fmt.Fprintf(stderr, "\nscenarios:\n")
		for _, s := range scenarios {
			note := ""
			if s.asked {
				note = " (not among all)"
			}
			fmt.Fprintf(stderr, "  %-14s %s%s\n", s.name, s.title, note)
		}
	}
	chosen := flags.String("scenario", "all", "the scenarios to run, separated by `commas`; every: those, too, that are not among all")
	flags.IntVar(&o.rounds, "rounds", 3, "how often to run them all")
	flags.StringVar(&o.base, "base", "", "`name` of the target that the others are compared to (default: the first)")
	flags.DurationVar(&o.time, "time", 5*time.Second, "length of a scenario that counts operations")
	flags.IntVar(&o.clients, "clients", 100, "clients of the scenario crowd")
	flags.IntVar(&o.images, "images", 2000, "small images in a round, at most")
	flags.IntVar(&o.tags, "tags", 2000, "tags put on one manifest")
	flags.IntVar(&o.repos, "repositories", 500, "repositories in the catalog")
	flags.IntVar(&o.pages, "pages", 100, "pages of a list in a round")
	flags.Func("blob", "`size` of a big blob, such as 64MiB (default 512MiB)", func(s string) (err error) {
		o.blob, err = parseSize(s)
		return err
	})
	flags.Func("pid", "`name=pid` of a server, to read its CPU time and memory", func(s string) error {
		name, pid, _ := strings.Cut(s, "=")
		n, err := strconv.Atoi(pid)
		o.pids[name] = n
		return err
	})
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	o.targets = flags.Args()
	return o, o.check(*chosen)
}

// Check refuses what cannot be run, and fills in the scenarios and the base.
func (o *options) check(chosen string) error {
	if len(o.targets) == 0 {
		return errors.New("name a registry: load name=url")
	}
	if o.rounds < 1 || o.blob < 1 || o.time <= 0 || o.clients < 1 || o.images < 1 || o.tags < 2 || o.repos < 2 || o.pages < 1 {
		return errors.New("a limit is too small")
	}
	var names []string
	for _, target := range o.targets {
		name, _, _ := strings.Cut(target, "=")
		if slices.Contains(names, name) {
			return fmt.Errorf("two targets are named %q", name)
		}
		names = append(names, name)
	}
	if o.base == "" {
		o.base = names[0]
	}
	if !slices.Contains(names, o.base) {
		return fmt.Errorf("no target is named %q", o.base)
	}
	for name := range o.pids {
		if !slices.Contains(names, name) {
			return fmt.Errorf("no target is named %q", name)
		}
	}
	if chosen == "all" || chosen == "every" {
		o.scenarios = slices.DeleteFunc(slices.Clone(scenarios), func(s scenario) bool { return s.asked && chosen == "all" })
		return nil
	}
	for name := range strings.SplitSeq(chosen, ",") {
		i := slices.IndexFunc(scenarios, func(s scenario) bool { return s.name == name })
		if i < 0 {
			return fmt.Errorf("no scenario is named %q", name)
		}
		o.scenarios = append(o.scenarios, scenarios[i])
	}
	return nil
}

// ParseSize reads bytes, with KiB, MiB or GiB after the number or nothing.
func parseSize(s string) (int64, error) {
	unit := int64(1)
	for suffix, n := range map[string]int64{"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30} {
		if number, ok := strings.CutSuffix(s, suffix); ok {
			s, unit = number, n
		}
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n > 1<<40/unit {
		return 0, fmt.Errorf("not a size: %q", s)
	}
	return n * unit, nil
}
