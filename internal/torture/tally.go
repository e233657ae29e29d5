package torture

import (
	"bufio"
	"fmt"
	"os"
	"sync"
	"time"
)

// Figures are what a run counts. Maps are by name. A child process that runs
// rounds of its own prints them as JSON; see Tally.Merge.
type Figures struct {
	Seeds  int64 `json:"seeds"`
	Rounds int64 `json:"rounds"`
	Failed int64 `json:"failed"` // rounds
	// Kills counts processes that were ended without warning: servers, engines,
	// clients, brokers.
	Kills int64 `json:"kills"`
	// Sent, Acked and Unknown count events at the end of their round: acknowledged,
	// and sent without an answer that says what became of them.
	Sent    int64 `json:"sent"`
	Acked   int64 `json:"acked"`
	Unknown int64 `json:"unknown"`
	// Answers counts what readers looked at while a round ran.
	Answers int64 `json:"answers"`
	// Checks counts comparisons at the ends of rounds.
	Checks int64 `json:"checks"`
	// Lost and Doubled count events; Wrong, everything else that was not as it
	// must be.
	Lost    int64 `json:"lost"`
	Doubled int64 `json:"doubled"`
	Wrong   int64 `json:"wrong"`
	// Faults, Points and Rare count by the names of Scenario.Faults and of package
	// failpoint.
	Faults map[string]int64 `json:"faults,omitempty"`
	Points map[string]int64 `json:"points,omitempty"`
	Rare   map[string]int64 `json:"rare,omitempty"`
}

func (f *Figures) add(o *Figures) {
	f.Seeds += o.Seeds
	f.Rounds += o.Rounds
	f.Failed += o.Failed
	f.Kills += o.Kills
	f.Sent += o.Sent
	f.Acked += o.Acked
	f.Unknown += o.Unknown
	f.Answers += o.Answers
	f.Checks += o.Checks
	f.Lost += o.Lost
	f.Doubled += o.Doubled
	f.Wrong += o.Wrong
	for _, m := range []struct {
		into *map[string]int64
		from map[string]int64
	}{{&f.Faults, o.Faults}, {&f.Points, o.Points}, {&f.Rare, o.Rare}} {
		for name, n := range m.from {
			if *m.into == nil {
				*m.into = map[string]int64{}
			}
			(*m.into)[name] += n
		}
	}
}

// A Control is a weaker design that was put under the same check, which has to
// catch it.
type Control struct {
	Name string `json:"name"` // what was changed
	// By is what had to catch it, Took how long that was, building included.
	By   string        `json:"by"`
	Took time.Duration `json:"took"`
	// Expect is what it must be caught at: "lost", "doubled" or "wrong".
	Expect  string `json:"expect"`
	Lost    int64  `json:"lost"`
	Doubled int64  `json:"doubled"`
	Wrong   int64  `json:"wrong"`
	Events  int64  `json:"events"`
	Caught  bool   `json:"caught"`
	Detail  string `json:"detail"`
}

// A Failure is a round that failed.
type Failure struct {
	Scenario string   `json:"scenario"`
	Seed     uint64   `json:"seed"`
	Dir      string   `json:"dir"`
	Error    string   `json:"error"`
	Found    []string `json:"found,omitempty"`
	Again    string   `json:"again"` // the command that repeats it
}

// A Measure is something that was measured, such as the time of a recovery.
type Measure struct{ Scenario, What, Value string }

// A Tally collects what rounds do, over all scenarios and for each. Its methods
// may be called from any goroutine.
type Tally struct {
	mu        sync.Mutex
	started   time.Time
	total     Figures
	by        map[string]*Figures // of scenarios
	controls  []Control
	failures  []Failure
	measures  []Measure
	skipped   map[string]string // scenarios that cannot run here, and why
	now       string            // what the present round is at
	nowSince  time.Time
	nowOf     string
	nowSeed   uint64
	firstSeed uint64
	round     *Round // the present one, nil between rounds
}

// NewTally returns an empty Tally that starts now.
func NewTally() *Tally { return &Tally{started: time.Now(), by: map[string]*Figures{}} }

// Live are figures of a round that is not over.
type Live struct{ Sent, Acked, Unknown, Answers int64 }

// Merge adds figures to a scenario's and to the total.
func (t *Tally) Merge(scenario string, f Figures) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.total.add(&f)
	if t.by[scenario] == nil {
		t.by[scenario] = &Figures{}
	}
	t.by[scenario].add(&f)
}

// Total returns the sum of all figures.
func (t *Tally) Total() Figures {
	t.mu.Lock()
	defer t.mu.Unlock()
	var f Figures
	f.add(&t.total)
	return f
}

// Of returns the figures of a scenario.
func (t *Tally) Of(scenario string) Figures {
	t.mu.Lock()
	defer t.mu.Unlock()
	var f Figures
	if by := t.by[scenario]; by != nil {
		f.add(by)
	}
	return f
}

// Failures returns the rounds that failed.
func (t *Tally) Failures() []Failure {
	t.mu.Lock()
	defer t.mu.Unlock()
	return append([]Failure(nil), t.failures...)
}

func (t *Tally) control(c Control) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.controls = append(t.controls, c)
}

// Controls returns the controls that ran.
func (t *Tally) Controls() []Control {
	t.mu.Lock()
	defer t.mu.Unlock()
	return append([]Control(nil), t.controls...)
}

// Measures returns what was measured.
func (t *Tally) Measures() []Measure {
	t.mu.Lock()
	defer t.mu.Unlock()
	return append([]Measure(nil), t.measures...)
}

// readHits reads a log of package failpoint: the passes of each point, summed over
// processes. Of a point on a hot path it is a lower bound.
func readHits(path string) (map[string]int64, error) {
	f, err := os.Open(path)
	if os.IsNotExist(err) {
		return nil, nil // no process has passed any
	}
	if err != nil {
		return nil, fmt.Errorf("read points: %w", err)
	}
	defer f.Close()
	type of struct {
		name string
		pid  int
	}
	most := map[of]int64{}
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		var o of
		var n int64
		if _, err := fmt.Sscanf(lines.Text(), "%s %d %d", &o.name, &n, &o.pid); err != nil {
			return nil, fmt.Errorf("read points: %q: %w", lines.Text(), err)
		}
		most[o] = max(most[o], n)
	}
	hits := map[string]int64{}
	for o, n := range most {
		hits[o.name] += n
	}
	return hits, lines.Err()
}
