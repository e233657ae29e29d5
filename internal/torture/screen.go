package torture

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/agentik-os/panda/schemas"
)

// A Screen shows a run while it goes on: a table that is drawn in place on a
// terminal, a line now and then elsewhere.
type Screen struct {
	W        io.Writer
	Terminal bool
	Tally    *Tally

	mu    sync.Mutex
	drawn int // lines of the table on the terminal
}

const (
	redrawEvery = 200 * time.Millisecond
	lineEvery   = 10 * time.Second
)

// Run draws until ctx ends.
func (s *Screen) Run(ctx context.Context) {
	every := lineEvery
	if s.Terminal {
		every = redrawEvery
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			s.draw()
			return
		case <-tick.C:
			s.draw()
		}
	}
}

func (s *Screen) draw() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.Terminal {
		_, _ = fmt.Fprintln(s.W, s.Tally.line())
		return
	}
	lines := s.Tally.table()
	var b strings.Builder
	if s.drawn > 0 {
		fmt.Fprintf(&b, "\x1b[%dA", s.drawn)
	}
	for _, line := range lines {
		b.WriteString(line + "\x1b[K\n")
	}
	b.WriteString("\x1b[J")
	s.drawn = len(lines)
	_, _ = io.WriteString(s.W, b.String())
}

// Failed shows a round that failed, above the table.
func (s *Screen) Failed(f Failure) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.Terminal && s.drawn > 0 {
		_, _ = fmt.Fprintf(s.W, "\x1b[%dA\x1b[J", s.drawn)
		s.drawn = 0
	}
	_, _ = fmt.Fprintf(s.W, "FAILED %s, seed %d: %s\n", f.Scenario, f.Seed, clip(f.Error))
	for _, line := range f.Found {
		_, _ = fmt.Fprintf(s.W, "  %s\n", clip(line))
	}
	_, _ = fmt.Fprintf(s.W, "  kept: %s\n  again: %s\n", f.Dir, f.Again)
}

func clip(text string) string {
	const textMax = 1500
	if len(text) > textMax {
		text = text[:textMax] + " …"
	}
	return text
}

// snapshot returns the totals with those of the round under way.
func (t *Tally) snapshot() (f Figures, at string, round *Round, took time.Duration) {
	t.mu.Lock()
	f.add(&t.total)
	round, took = t.round, time.Since(t.started)
	if round != nil {
		at = fmt.Sprintf("%s, seed %d: %s, %s", t.nowOf, t.nowSeed, t.now, time.Since(t.nowSince).Round(time.Second))
	}
	t.mu.Unlock()
	if round != nil {
		live := round.live()
		f.Sent += live.Sent
		f.Acked += live.Acked
		f.Unknown += live.Unknown
		f.Answers += live.Answers
		round.mu.Lock()
		f.Kills += round.figures.Kills
		for name, n := range round.figures.Faults {
			if f.Faults == nil {
				f.Faults = map[string]int64{}
			}
			f.Faults[name] += n
		}
		round.mu.Unlock()
		if hits, err := round.Hits(); err == nil {
			split(&f, hits)
		}
	}
	return f, at, round, took
}

func digits(n int64) string { return schemas.GroupDigits(strconv.FormatInt(n, 10)) }

func sumOf(m map[string]int64) (n int64) {
	for _, v := range m {
		n += v
	}
	return n
}

// line is the state in one line.
func (t *Tally) line() string {
	f, at, _, took := t.snapshot()
	return fmt.Sprintf("%s  rounds %d (%d failed)  kills %s  faults %s  events %s acked %s unknown %s  answers %s  points %d/%d  rare %d/%d  lost %d  doubled %d  wrong %d  [%s]",
		took.Round(time.Second), f.Rounds, f.Failed, digits(f.Kills), digits(sumOf(f.Faults)), digits(f.Sent), digits(f.Acked), digits(f.Unknown),
		digits(f.Answers), hit(f.Points), pointsAll(true), hit(f.Rare), pointsAll(false), f.Lost, f.Doubled, f.Wrong, at)
}

// table is the state in lines.
func (t *Tally) table() []string {
	f, at, _, took := t.snapshot()
	row := func(name string, format string, args ...any) string {
		return fmt.Sprintf("  %-18s %s", name, fmt.Sprintf(format, args...))
	}
	return []string{
		"torture  " + took.Round(time.Second).String(),
		row("seeds, rounds", "%s, %s; %d failed", digits(f.Seeds), digits(f.Rounds), f.Failed),
		row("kills", "%s", digits(f.Kills)),
		row("faults", "%s of %d kinds", digits(sumOf(f.Faults)), len(f.Faults)),
		row("events", "%s sent, %s acknowledged, %s unknown", digits(f.Sent), digits(f.Acked), digits(f.Unknown)),
		row("looks", "%s answers while it went on, %s checks at the end", digits(f.Answers), digits(f.Checks)),
		row("crash points", "%d of %d", hit(f.Points), pointsAll(true)),
		row("rare paths", "%d of %d", hit(f.Rare), pointsAll(false)),
		row("lost", "%d", f.Lost),
		row("doubled", "%d", f.Doubled),
		row("otherwise wrong", "%d", f.Wrong),
		row("now", "%s", at),
	}
}
