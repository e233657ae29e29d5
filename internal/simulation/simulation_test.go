package simulation

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// The flags of a longer run, and of the line that makes a failing one again.
var (
	seedFlag     = flag.Uint64("seed", 0, "run this seed alone and tell its story")
	faultsFlag   = flag.String("faults", "", "with -seed: the only faults to inject, by name, or none")
	stepsFlag    = flag.String("steps", "", "with -seed: the only actions of clients, by name, or none")
	traceFlag    = flag.Bool("trace", false, "with -seed: print every step")
	seedsFlag    = flag.Uint64("seeds", 200, "how many seeds to run")
	fromFlag     = flag.Uint64("from", 1, "the first seed")
	minutesFlag  = flag.Float64("minutes", 0, "run seeds for this long instead of -seeds of them")
	firstFlag    = flag.Bool("first", false, "end with the first failure, and do not make it smaller")
	progressFlag = flag.Bool("progress", false, "print a line of JSON on standard output every second and at the end")
)

// workers run seeds side by side.
const workers = 2

// rarePaths must all be taken within the seeds that go test runs.
func rarePaths() []string {
	return []string{
		"a claim was refused because another writer took it",
		"a clock went a year back", "a clock went a year forward", "a commit came when the ledger was beyond it",
		"a conflict across messages", "a conflict inside a message", "a key was looked up that is stored beyond the ledger",
		"a message came again beyond the broker's window", "a node died in a commit", "a node died in a rollup pass",
		"a reader looked at windows in the middle of a pass", "a reader looked between the rows of a range and its ledger row",
		"a recomputation of windows arrived late", "a request was delivered twice", "a request was refused",
		"a retry was grouped anew", "a rollup pass failed between hours and months", "a void in the message of its target",
		"a slower rollup pass was recorded after a faster one", "a void of a void", "a void of what is not there", "a void of what was voided", "a window was written with an older generation",
		"a writer halted before a clock that went back", "a writer halted before a log that is not the ledger's", "a writer resumed beyond what it had reported",
		"a writer still committed after another took over", "a writer still inserted after another took over",
		"an event was too early or too late for the door without a gateway", "another node took the lease",
		"rows of some months were written and of others not", "the answer to a client was lost", "the answer to a commit was lost",
		"the broker recognised a message", "the lease was taken from a node that lives", "the log was full",
		"the warehouse crashed", "what a damaged warehouse lost was restored from the log", "the writer was paused beyond its lease", "two nodes wrote in turn",
	}
}

// A progress is what has been done so far; its JSON is a line of -progress.
type progress struct {
	Seeds    int            `json:"seeds"`
	Large    int            `json:"large"`
	Events   int            `json:"events"`
	Steps    int            `json:"steps"`
	Looks    int            `json:"looks"` // reads of all paths that were held against the oracle
	Faults   map[string]int `json:"faults"`
	Rare     map[string]int `json:"rare"`
	Failures []string       `json:"failures"` // the lines that make them again
	Virtual  string         `json:"virtual_time"`
	Elapsed  string         `json:"elapsed"`
	Next     uint64         `json:"next_seed"`
	Done     bool           `json:"done"`

	virtual time.Duration
}

// A campaign runs many seeds.
type campaign struct {
	mu       sync.Mutex
	next     uint64
	began    time.Time
	told     time.Time
	progress progress
}

func newCampaign(from uint64) *campaign {
	return &campaign{next: from, began: time.Now(), told: time.Now(), progress: progress{
		Faults: map[string]int{}, Rare: map[string]int{}, Failures: []string{}}}
}

// take gives out the next seed, if there is one.
func (c *campaign) take(from, seeds uint64, length time.Duration) (uint64, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	over := c.next >= from+seeds
	if length > 0 {
		over = time.Since(c.began) >= length
	}
	failuresMax := 5
	if *firstFlag {
		failuresMax = 1
	}
	if over || len(c.progress.Failures) >= failuresMax {
		return 0, false
	}
	c.next++
	return c.next - 1, true
}

func (c *campaign) add(cfg config, out result) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := &c.progress
	p.Seeds++
	if cfg.shape.name == "large" {
		p.Large++
	}
	p.Events, p.Steps, p.Looks, p.virtual = p.Events+out.events, p.Steps+out.steps, p.Looks+out.looks, p.virtual+out.virtualTime
	for _, f := range out.injected {
		p.Faults[f.what]++
	}
	for path, n := range out.rare {
		p.Rare[path] += n
	}
	if out.violation != "" {
		p.Failures = append(p.Failures, reproduce(cfg))
	}
	if *progressFlag && time.Since(c.told) >= time.Second {
		c.tell()
	}
}

// tell prints a line of JSON.
func (c *campaign) tell() {
	c.told = time.Now()
	p := &c.progress
	p.Virtual, p.Elapsed, p.Next = p.virtual.Round(time.Second).String(), time.Since(c.began).Round(time.Millisecond).String(), c.next
	line, err := json.Marshal(p)
	if err != nil {
		panic(err)
	}
	fmt.Printf("%s\n", line)
}

// TestSimulation runs seeds: those that once failed, then a range of them.
func TestSimulation(t *testing.T) {
	books := priceBooks(t)
	if *seedFlag != 0 {
		runOne(t, config{seed: *seedFlag, shape: shapeOf(*seedFlag), books: books, faults: listFlag(*faultsFlag), actions: listFlag(*stepsFlag)})
		return
	}
	c := newCampaign(*fromFlag)
	length := time.Duration(*minutesFlag * float64(time.Minute))
	t.Run("seeds", func(t *testing.T) {
		for worker := range workers {
			t.Run(strconv.Itoa(worker), func(t *testing.T) {
				t.Parallel()
				for {
					seed, ok := c.take(*fromFlag, *seedsFlag, length)
					if !ok {
						return
					}
					cfg := config{seed: seed, shape: shapeOf(seed), books: books}
					out := simulate(t, cfg)
					c.add(cfg, out)
					if out.violation != "" && *firstFlag {
						t.Errorf("seed %d: %s\n%s", seed, out.violation, reproduce(cfg))
					} else if out.violation != "" {
						explain(t, cfg, out)
					}
				}
			})
		}
	})
	c.progress.Done = true
	if *progressFlag {
		c.tell()
	}
	p := &c.progress
	t.Logf("%d seeds from %d (%d large), %d events, %d steps, %d looks, %s of virtual time, in %s",
		p.Seeds, *fromFlag, p.Large, p.Events, p.Steps, p.Looks, p.virtual.Round(time.Second), time.Since(c.began).Round(time.Millisecond))
	for _, what := range sortedKeys(p.Faults) {
		t.Logf("%7d times  %s", p.Faults[what], what)
	}
	for _, path := range rarePaths() {
		t.Logf("%7d times  %s", p.Rare[path], path)
		if p.Rare[path] == 0 && p.Seeds >= 200 && len(p.Failures) == 0 {
			t.Errorf("no seed took the path %q; what the simulation does has become narrower", path)
		}
	}
}

// runOne runs a single config and tells its story, as the line of a failure asks.
func runOne(t *testing.T, cfg config) {
	if *traceFlag {
		cfg.verbose = os.Stdout
	}
	out := simulate(t, cfg)
	t.Logf("seed %d: %d events, %d steps, %d looks, trace %s\n%s", cfg.seed, out.events, out.steps, out.looks, out.digest, story(out))
	if out.violation != "" && cfg.faults == nil && cfg.actions == nil {
		explain(t, cfg, out)
	} else if out.violation != "" {
		t.Errorf("seed %d: %s", cfg.seed, out.violation)
	}
}

// explain reports a failure: the line that makes it again, the smallest one found,
// and what happens in that one.
func explain(t *testing.T, cfg config, out result) {
	t.Errorf("seed %d: %s\n%s", cfg.seed, out.violation, reproduce(cfg))
	small, last := minimise(t, cfg, out)
	t.Logf("smaller (add it to testdata/seeds.txt):\n%s\n%s", reproduce(small), story(last))
}

// listFlag reads a list of names: nil for none given, empty for the word none.
func listFlag(text string) map[string]bool {
	switch text {
	case "":
		return nil
	case "none":
		return map[string]bool{}
	}
	return set(strings.Split(text, ","))
}

// TestKeptSeeds runs the seeds that once found something, for ever.
func TestKeptSeeds(t *testing.T) {
	t.Parallel()
	file, err := os.Open("testdata/seeds.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	books := priceBooks(t)
	lines := bufio.NewScanner(file)
	kept := 0
	for lines.Scan() {
		line, comment, _ := strings.Cut(lines.Text(), "#")
		fields := strings.Fields(line)
		if len(fields) == 0 {
			continue
		}
		kept++
		cfg := config{books: books}
		for _, field := range fields {
			name, value, _ := strings.Cut(field, "=")
			switch name {
			case "seed":
				if cfg.seed, err = strconv.ParseUint(value, 10, 64); err != nil {
					t.Fatalf("%s: %v", line, err)
				}
				cfg.shape = shapeOf(cfg.seed)
			case "faults":
				cfg.faults = listFlag(value)
			case "steps":
				cfg.actions = listFlag(value)
			default:
				t.Fatalf("%s: there is no %q", line, name)
			}
		}
		if out := simulate(t, cfg); out.violation != "" {
			t.Errorf("it is back: %s: %s\n%s", strings.TrimSpace(comment), out.violation, reproduce(cfg))
		}
	}
	if err := lines.Err(); err != nil || kept == 0 {
		t.Errorf("%d kept seeds were run: %v", kept, err)
	}
}

// TestSameSeedSameRun runs seeds twice: every step must be the same. It holds the
// simulation to what makes a failing seed worth keeping.
func TestSameSeedSameRun(t *testing.T) {
	t.Parallel()
	books := priceBooks(t)
	for _, seed := range []uint64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 86, 107, 129, largeEvery - 1} {
		cfg := config{seed: seed, shape: shapeOf(seed), books: books}
		first, second := simulate(t, cfg), simulate(t, cfg)
		if first.digest != second.digest || first.steps != second.steps {
			t.Errorf("seed %d: %d steps with trace %s, then %d with %s", seed, first.steps, first.digest, second.steps, second.digest)
		}
		cfg.seed++
		if other := simulate(t, cfg); other.digest == first.digest {
			t.Errorf("seeds %d and %d are the same run", seed, seed+1)
		}
	}
}
