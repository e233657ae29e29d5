//go:build failpoint

package failpoint

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Enabled says whether the program was built with the tag.
const Enabled = true

// The environment variables.
const (
	envPoints = "PANDA_FAILPOINT"
	envLog    = "PANDA_FAILPOINT_LOG"
	// envSchedule replaces the schedule of every job.
	envSchedule = "PANDA_FAILPOINT_SCHEDULE"
)

// action is what happens at a point.
type action struct {
	signal syscall.Signal
	at     int // pass
}

// state is what a process with the tag knows. There is one for the process,
// because that is what its environment is for.
type state struct {
	actions map[Point][]action
	log     *os.File // nil without a log

	mu     sync.Mutex
	passed map[Point]int
}

// load reads the environment once.
var load = sync.OnceValues(func() (*state, error) { //nolint:gochecknoglobals // of the process, as the environment is
	return parse(os.Getenv(envPoints), os.Getenv(envLog))
})

func parse(points, log string) (*state, error) {
	s := &state{actions: map[Point][]action{}, passed: map[Point]int{}}
	for _, text := range strings.Split(points, ",") {
		if text = strings.TrimSpace(text); text == "" {
			continue
		}
		parts := strings.Split(text, ":")
		if len(parts) != 3 {
			return nil, fmt.Errorf("%s: %q is not point:action:pass", envPoints, text)
		}
		p := Point(parts[0])
		if _, ok := Lookup(p); !ok {
			return nil, fmt.Errorf("%s: there is no point %q", envPoints, p)
		}
		a := action{}
		switch parts[1] {
		case "kill":
			a.signal = syscall.SIGKILL
		case "stop":
			a.signal = syscall.SIGSTOP
		default:
			return nil, fmt.Errorf("%s: %q is not an action; use kill or stop", envPoints, parts[1])
		}
		var err error
		if a.at, err = strconv.Atoi(parts[2]); err != nil || a.at < 1 {
			return nil, fmt.Errorf("%s: %q is not a pass, which is a number from 1", envPoints, parts[2])
		}
		s.actions[p] = append(s.actions[p], a)
	}
	if log == "" {
		return s, nil
	}
	var err error
	if s.log, err = os.OpenFile(log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600); err != nil {
		return nil, fmt.Errorf("%s: %w", envLog, err)
	}
	return s, nil
}

// Check reads what the environment asks for, and says what is wrong with it.
func Check() error {
	_, err := load()
	return err
}

// Schedule is the schedule of a job: the one it has, or that of the environment, so
// that a job which is due once an hour runs in a run of minutes.
func Schedule(schedule string) string {
	if every := os.Getenv(envSchedule); every != "" {
		return every
	}
	return schedule
}

// Hit marks a crash point.
func Hit(p Point) { pass(p) }

// Reached marks a rare path.
func Reached(p Point) { pass(p) }

func pass(p Point) {
	s, err := load()
	if err != nil {
		panic(err) // Check was not called
	}
	s.pass(p, os.Getpid())
}

// eachMax is up to which pass every one is written to the log.
const eachMax = 8

// stopTakes is more than a stop takes to reach every thread.
const stopTakes = 100 * time.Millisecond

// pass counts, writes and acts. The line is one short write to a file opened for
// appending, so it is whole and stays when the process dies right after it.
func (s *state) pass(p Point, pid int) {
	s.mu.Lock()
	s.passed[p]++
	n := s.passed[p]
	var signal syscall.Signal
	for _, a := range s.actions[p] {
		if a.at == n {
			signal = a.signal
		}
	}
	if s.log != nil && (n <= eachMax || n&(n-1) == 0 || signal != 0) {
		if _, err := fmt.Fprintf(s.log, "%s %d %d\n", p, n, pid); err != nil {
			panic("failpoint: write the log: " + err.Error())
		}
	}
	if signal == syscall.SIGKILL {
		_ = syscall.Kill(pid, signal)
		select {} // the signal is on its way, and nothing may happen before it
	}
	s.mu.Unlock()
	if signal != 0 {
		_ = syscall.Kill(pid, signal)
		// This thread is stopped with the others a moment later, and must not get
		// further until it goes on.
		time.Sleep(stopTakes)
	}
}
