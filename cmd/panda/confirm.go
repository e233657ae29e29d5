package main

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	"strings"

	"github.com/mattn/go-isatty"
	"github.com/spf13/cobra"
)

// errDeclined ends a command that asked and was not told to go on.
var errDeclined = errors.New("not confirmed; nothing was changed")

// yesFlag gives a command that cannot be undone its --yes.
func yesFlag(cmd *cobra.Command, to *bool) {
	cmd.Flags().BoolVarP(to, "yes", "y", false, "do not ask; for scripts")
}

// asks reports whether there is somebody to ask.
func (a *app) asks() bool {
	f, ok := a.stdin.(*os.File)
	return ok && isatty.IsTerminal(f.Fd())
}

// confirm asks before something that cannot be undone. what is a sentence; the question
// goes to standard error, so that it is seen when the output goes to a file. Without a
// terminal and without --yes it refuses.
func (a *app) confirm(ctx context.Context, yes bool, what string) error {
	if yes {
		return nil
	}
	if !a.asks() {
		return usagef("%s\nthis cannot be undone, and there is no terminal to ask at; give --yes to do it", what)
	}
	answer, err := a.ask(ctx, what+"\nThis cannot be undone. Go on? [y/N] ")
	if err != nil {
		return err
	}
	switch strings.ToLower(answer) {
	case "y", "yes":
		return nil
	}
	return errDeclined
}

// confirmByName asks for a name to be typed.
func (a *app) confirmByName(ctx context.Context, what, name string) error {
	answer, err := a.ask(ctx, what+"\nThis cannot be undone. Type "+name+" to go on: ")
	if err != nil {
		return err
	}
	if answer != name {
		return errDeclined
	}
	return nil
}

const answerLineMax = 1 << 10 // a slug has 63 characters

// ask returns the line that was typed. An interrupt ends the asking at once; what is then
// left waiting for the terminal ends with the process.
func (a *app) ask(ctx context.Context, question string) (string, error) {
	a.say("%s", visible(question))
	type answer struct {
		line string
		err  error
	}
	typed := make(chan answer, 1)
	go func() {
		line, err := bufio.NewReader(io.LimitReader(a.stdin, answerLineMax)).ReadString('\n')
		typed <- answer{line, err}
	}()
	var got answer
	select {
	case got = <-typed:
	case <-ctx.Done():
		got.err = ctx.Err()
	}
	if got.err != nil {
		a.say("\n") // the terminal's own newline did not come
	}
	if got.err != nil && !errors.Is(got.err, io.EOF) {
		return "", got.err
	}
	return strings.TrimSpace(got.line), nil
}
