package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/term"

	"github.com/agentik-os/panda/internal/eventlog/servers"
	"github.com/agentik-os/panda/internal/failpoint"
	"github.com/agentik-os/panda/internal/torture"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) //nolint:forbidigo // main ends the program
}

// The exit codes.
const (
	exitHeld  = 0 // every round held
	exitFound = 1 // a round failed, or a control was not caught
	exitUsage = 2 // wrong usage, or no panda to torture
)

// settings are the flags.
type settings struct {
	minutes, rounds int
	seed            uint64
	only            string
	panda, dir      string
	write           string
	list, short     bool
	options         map[string]string
}

// run is the program without the process. It returns the exit code.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	if err := failpoint.Check(); err != nil {
		_, _ = fmt.Fprintln(stderr, "torture:", err)
		return exitUsage
	}
	if cfg, asked, err := servers.ConfigFromEnv(os.Getenv); asked {
		if err == nil {
			err = servers.Serve(ctx, cfg, stdin, stdout)
		}
		_, _ = fmt.Fprintln(stderr, "torture, as a log server:", err)
		return exitFound
	}
	if len(args) == 1 && args[0] == "record" {
		if err := torture.Record(ctx, stdin, stdout); err != nil {
			_, _ = fmt.Fprintln(stderr, "torture record:", err)
			return exitFound
		}
		return exitHeld
	}
	s, chosen, err := parse(args, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return exitHeld
	case err != nil:
		_, _ = fmt.Fprintln(stderr, "torture:", err)
		return exitUsage
	case s.list:
		for _, sc := range chosen {
			_, _ = fmt.Fprintf(stdout, "%-12s %s\n", sc.Name, sc.About)
		}
		return exitHeld
	}
	code, err := s.torture(ctx, chosen, stdout, stderr)
	if err != nil {
		_, _ = fmt.Fprintln(stderr, "torture:", err)
	}
	return code
}

func parse(args []string, stderr io.Writer) (settings, []torture.Scenario, error) {
	s := settings{options: map[string]string{}}
	fs := flag.NewFlagSet("torture", flag.ContinueOnError)
	fs.SetOutput(stderr)
	fs.IntVar(&s.minutes, "minutes", 10, "how long to begin rounds; every scenario has one, however long that takes")
	fs.IntVar(&s.rounds, "rounds", 0, "how many rounds, whatever the time (0: by --minutes)")
	fs.Uint64Var(&s.seed, "seed", 0, "seed of the first round; the next has the next one (0: from the clock)")
	fs.StringVar(&s.only, "only", "", "scenarios to run, with commas between (empty: all)")
	fs.StringVar(&s.panda, "panda", "", "the program, built with -tags failpoint (empty: panda-torture beside this one)")
	fs.StringVar(&s.dir, "dir", "", "where rounds have their data (empty: a temporary directory)")
	fs.StringVar(&s.write, "write", "", "write the report to this file, as markdown")
	fs.BoolVar(&s.list, "list", false, "list the scenarios and end")
	fs.BoolVar(&s.short, "short", false, "the small form of each scenario")
	fs.Func("set", "name=value for a scenario, such as events=10000000; may be repeated", func(text string) error {
		name, value, ok := strings.Cut(text, "=")
		if !ok {
			return errors.New("it is written name=value")
		}
		s.options[name] = value
		return nil
	})
	if err := fs.Parse(args); err != nil {
		return s, nil, err
	}
	if fs.NArg() > 0 {
		return s, nil, fmt.Errorf("%q is not expected; see --help", fs.Arg(0))
	}
	if s.seed == 0 {
		s.seed = uint64(time.Now().UnixNano()) & (1<<32 - 1)
	}
	chosen := scenarios()
	if s.only != "" {
		names := strings.Split(s.only, ",")
		for _, name := range names {
			if !slices.ContainsFunc(chosen, func(sc torture.Scenario) bool { return sc.Name == name }) {
				return s, nil, fmt.Errorf("there is no scenario %q; see --list", name)
			}
		}
		chosen = slices.DeleteFunc(chosen, func(sc torture.Scenario) bool { return !slices.Contains(names, sc.Name) })
	}
	return s, chosen, nil
}

// programs finds this program and the panda to torture, and sees that it has its
// failpoints: without them nothing would be hit, and that would look well.
func (s *settings) programs(ctx context.Context) (self string, err error) {
	if self, err = os.Executable(); err != nil {
		return "", fmt.Errorf("find own executable: %w", err)
	}
	if s.panda == "" {
		s.panda = filepath.Join(filepath.Dir(self), "panda-torture")
	}
	if s.panda, err = filepath.Abs(s.panda); err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, s.panda, "version")
	cmd.Env = append(os.Environ(), "PANDA_FAILPOINT=no_such_point:kill:1")
	if err := cmd.Run(); err == nil {
		return "", fmt.Errorf("%s has no failpoints; build it with: go build -tags failpoint -o %s ./cmd/panda", s.panda, s.panda)
	} else if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) {
		return "", fmt.Errorf("run %s: %w; make torture builds it", s.panda, err)
	}
	return self, nil
}

func (s *settings) torture(ctx context.Context, chosen []torture.Scenario, stdout, stderr io.Writer) (int, error) {
	self, err := s.programs(ctx)
	if err != nil {
		return exitUsage, err
	}
	temporary := s.dir == ""
	if temporary {
		if s.dir, err = os.MkdirTemp("", "panda-torture-"); err != nil {
			return exitUsage, err
		}
	}
	tally := torture.NewTally()
	runner := &torture.Runner{
		For: time.Duration(s.minutes) * time.Minute, Rounds: s.rounds, Seed: s.seed, Scenarios: chosen,
		Dir: s.dir, Binary: s.panda, Self: self, Short: s.short, Options: s.options, Tally: tally,
		Again: func(scenario string, seed uint64) string {
			text := fmt.Sprintf("bin/torture --only %s --seed %d --rounds 1", scenario, seed)
			if s.short {
				text += " --short"
			}
			for _, name := range slices.Sorted(maps.Keys(s.options)) {
				text += " --set " + name + "=" + s.options[name]
			}
			return text
		},
	}
	file, isFile := stderr.(*os.File)
	screen := torture.Screen{W: stderr, Terminal: isFile && term.IsTerminal(int(file.Fd())), Tally: tally}
	runner.Failed = screen.Failed
	showing, stop := context.WithCancel(ctx)
	shown := make(chan struct{})
	go func() { defer close(shown); screen.Run(showing) }()
	err = runner.Run(ctx)
	stop()
	<-shown
	report := torture.NewReport(tally, chosen, runner, args(s))
	_, _ = fmt.Fprint(stdout, report.Text())
	if s.write != "" {
		if err := os.WriteFile(s.write, []byte(report.Markdown()), 0o644); err != nil {
			return exitUsage, fmt.Errorf("write the report: %w", err)
		}
	}
	if temporary && len(tally.Failures()) == 0 && ctx.Err() == nil {
		err = errors.Join(err, os.RemoveAll(s.dir))
	}
	if err != nil || !report.Held() {
		return exitFound, err
	}
	return exitHeld, nil
}

// args is the command that repeats the run.
func args(s *settings) string {
	text := fmt.Sprintf("bin/torture --seed %d", s.seed)
	if s.rounds > 0 {
		text += fmt.Sprintf(" --rounds %d", s.rounds)
	} else {
		text += fmt.Sprintf(" --minutes %d", s.minutes)
	}
	if s.only != "" {
		text += " --only " + s.only
	}
	if s.short {
		text += " --short"
	}
	return text
}
