package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/agentik-os/panda/internal/failpoint"
)

func main() {
	// The first signal drains; a second one ends the program at once.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx, os.Args[1:], os.Getenv, os.Stdin, os.Stdout, os.Stderr))
}

// run is the program without the process: tests call it. It returns the exit
// code; see the long help of the root command for what each means.
func run(ctx context.Context, args []string, getenv func(string) string, stdin io.Reader, stdout, stderr io.Writer) int {
	cfg, err := loadConfig(getenv)
	if err == nil {
		err = failpoint.Check() // of a build for torture; nothing in any other
	}
	if err != nil {
		_, _ = fmt.Fprintln(stderr, "panda:", err)
		return exitCode(err)
	}
	a := &app{getenv: getenv, stdin: stdin, stdout: stdout, stderr: stderr, cfg: &cfg}
	a.connect = func(ctx context.Context) (*apiClient, func() error, error) { return connect(ctx, a) }
	root := newRoot(a)
	root.SetArgs(args)
	err = root.ExecuteContext(ctx)
	printError(stderr, err)
	return exitCode(err)
}
