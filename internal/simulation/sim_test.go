package simulation

import (
	"context"
	"crypto/sha256"
	"fmt"
	"hash"
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/agentik-os/panda/ingest"
	"github.com/agentik-os/panda/rollup"
	"github.com/agentik-os/panda/schemas"
)

// A shape says how large a run is.
type shape struct {
	name                    string
	actions, eventsMax      int
	span                    time.Duration
	misfortunes             int
	faultPermille           int
	lookPermille            int
	tick                    time.Duration
	batchRows, batchRecords int
	nodes, gateways         int
	envelopeBytes           int
}

// smallShape is some 300 events.
func smallShape() shape {
	return shape{name: "small", actions: 60, eventsMax: 9, span: 15 * time.Second, misfortunes: 8, faultPermille: 40, lookPermille: 60,
		tick: 100 * time.Millisecond, batchRows: 24, batchRecords: 6, nodes: 2, gateways: 2, envelopeBytes: 400}
}

// largeShape is more than 10,000 events.
func largeShape() shape {
	return shape{name: "large", actions: 1100, eventsMax: 22, span: 60 * time.Second, misfortunes: 30, faultPermille: 25, lookPermille: 6,
		tick: 100 * time.Millisecond, batchRows: 700, batchRecords: 90, nodes: 2, gateways: 3, envelopeBytes: 1200}
}

// largeEvery says how many seeds there are to a large one.
const largeEvery = 50

func shapeOf(seed uint64) shape {
	if seed%largeEvery == largeEvery-1 {
		return largeShape()
	}
	// Some runs are almost calm and some are not: a fault in a calm run is seen to
	// its end, and in a stormy one it meets others.
	small := smallShape()
	small.faultPermille = []int{40, 10, 100, 60, 25, 200}[seed%6]
	small.misfortunes = []int{8, 4, 12, 1, 16}[seed%5]
	return small
}

// A config is one run. The same config gives the same run.
type config struct {
	seed  uint64
	shape shape
	// faults and actions, if not nil, are the only ones that are let happen.
	faults, actions map[string]bool
	books           []*schemas.PriceBook
	verbose         io.Writer

	// The rest makes a design or a store that is known to be wrong.
	wrapStore func(*sim, ingest.Store) ingest.Store
	store     storeOptions
	logLoses  int  // messages a crash of the log loses
	noClaims  bool // nobody keeps to the end of a range that was claimed
}

// sim is one run.
type sim struct {
	cfg    config
	ctx    context.Context
	began  time.Time
	digest hash.Hash
	all    sync.WaitGroup // every goroutine of the run

	mu       locked // held by the scheduler for a step, and by others for a moment
	counters map[string]int
	arriving []*op
	history  map[fact]history
	busy     int // clients that are not done
	writerOf map[uint64]string

	// The rest is the scheduler's.
	pending                      []*op
	late                         []lateOp
	plan                         []misfortune
	actions                      []action
	asked                        []fact
	made                         map[fact]bool
	direct                       map[string][]fact
	injected                     []injected
	rarePaths                    map[string]int
	steps, lines, looks          int
	violation                    string
	calm, readerComes            bool
	phase                        phase
	phaseSince                   time.Time
	storeDownUntil, logDownUntil time.Time
	unleased                     map[string]time.Time
	halting, halted              bool
	restorer                     *process
	restored                     bool
	restoreErr                   error
	given                        []*leaseStandIn
	gatewayStarts                int
	ledgerAtHalt                 int

	log      *logStandIn
	store    *storeStandIn
	leases   *leaseService
	claims   claimService
	nodes    []*node
	gateways []*gatewayNode
	oracle   *oracle
}

// A result is what a run came to.
type result struct {
	violation   string
	digest      string
	injected    []injected
	actions     []string
	rare        map[string]int
	events      int
	steps       int
	looks       int
	virtualTime time.Duration
}

// simulate makes one run.
func simulate(t *testing.T, cfg config) (out result) {
	if cfg.faults != nil || cfg.actions != nil {
		// In a run that is made smaller a reader comes after every write: what is
		// wrong is then seen where it becomes so, whatever is left out before it.
		cfg.shape.lookPermille = 1000
	}
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		s := &sim{
			cfg: cfg, ctx: ctx, began: time.Now(), digest: sha256.New(), counters: map[string]int{}, history: map[fact]history{},
			made: map[fact]bool{}, direct: map[string][]fact{}, rarePaths: map[string]int{}, unleased: map[string]time.Time{},
			writerOf: map[uint64]string{},
		}
		s.log, s.store, s.leases, s.oracle = newLog(s), newStore(s, cfg.store), &leaseService{s: s}, newOracle(s)
		s.planActions()
		s.planMisfortunes()
		for i := range s.actions {
			s.asked = append(s.asked, s.actions[i].facts...)
		}
		for i := range cfg.shape.gateways {
			g := &gatewayNode{name: fmt.Sprintf("g%d", i)}
			g.start(s, 0)
			s.gateways = append(s.gateways, g)
		}
		for i := range cfg.shape.nodes {
			n := &node{s: s, name: fmt.Sprintf("n%d", i)}
			n.start()
			s.nodes = append(s.nodes, n)
		}
		s.startClients()
		s.run()
		cancel()
		s.all.Wait()
		out = result{
			violation: s.violation, digest: fmt.Sprintf("%x", s.digest.Sum(nil)), injected: s.injected, rare: s.rarePaths,
			steps: s.steps, looks: s.looks, virtualTime: time.Since(s.began),
		}
		for i := range s.actions {
			out.actions = append(out.actions, s.actions[i].id)
			out.events += len(s.actions[i].facts)
		}
	})
	return out
}

// A phase of a run.
type phase int

const (
	storm     phase = iota // clients and misfortunes
	settle                 // no more of either; everything must come to rest
	restoring              // the warehouse was damaged and is restored from the log
	halting                // the log is not the ledger's: the writer must stop
)

// restMax is how long everything may take to come to rest once nothing fails.
const restMax = 5 * time.Minute

// done moves a run through its phases.
func (s *sim) done() bool {
	if s.violation != "" {
		return true
	}
	switch s.phase {
	case storm:
		if s.busy > 0 || len(s.plan) > 0 {
			return false
		}
		s.phase, s.phaseSince = settle, time.Now()
		s.soothe()
	case settle:
		if s.rests() {
			s.lookAtTheEnd()
			if s.violation != "" {
				return true
			}
			if s.restored || !s.beginRestore() {
				return s.beginHalt()
			}
		}
		if time.Since(s.phaseSince) > restMax {
			s.fail("it does not come to rest: the log ends at %d, the ledger at %d, the rollups at %d, live totals at %v", s.log.last(),
				s.store.head().To, s.store.jobPosition(rollup.JobName).Position, s.leaderLive())
		}
	case restoring:
		if s.restorer == nil {
			if len(s.pending) == 0 {
				s.damageAndRestore()
			}
		} else if s.restored {
			s.endRestore()
		} else if time.Since(s.phaseSince) > restMax {
			s.fail("it cannot be restored from the log")
		}
	case halting:
		if s.halted {
			s.rare("a writer halted before a log that is not the ledger's")
			if len(s.store.ledger) != s.ledgerAtHalt {
				s.fail("the writer wrote to the ledger though the log is another")
			}
			return true
		}
		if time.Since(s.phaseSince) > restMax {
			s.fail("the log is not the ledger's, and no writer halts")
		}
	}
	return s.violation != ""
}

// rests reports whether everything has arrived everywhere.
func (s *sim) rests() bool {
	end := s.log.last()
	return len(s.late) == 0 && s.store.head().To == end && s.store.jobPosition(rollup.JobName).Position == end && s.leaderLive() == int64(end)
}

// leaderLive returns the position of the live totals of the node that writes, -1
// when none does. Those of the others stand still until they write.
func (s *sim) leaderLive() int64 {
	for _, n := range s.nodes {
		if h := s.leases.holder; h != nil && h.proc == n.proc && !n.proc.dead() && n.live.Ready() {
			return int64(n.live.Position().Seq)
		}
	}
	return -1
}

// beginHalt replaces the log: by one that lost its end, or by one made anew. It
// reports whether there is nothing to see here.
func (s *sim) beginHalt() bool {
	if s.log.last() < 2 || s.hash("halt")%4 > 1 {
		return true
	}
	if s.hash("halt")%4 == 0 {
		s.log.crash(1)
	} else {
		s.log.epoch++
	}
	s.phase, s.phaseSince, s.halting, s.ledgerAtHalt = halting, time.Now(), true, len(s.store.ledger)
	for _, n := range s.nodes {
		n.kill(time.Hour)
	}
	s.nodes = s.nodes[:1]
	s.nodes[0].start()
	return false
}

// priceBooks are the revisions of all runs; 0 is the empty one.
func priceBooks(t testing.TB) []*schemas.PriceBook {
	t.Helper()
	var books []*schemas.PriceBook
	for n := range uint32(4) {
		rev := schemas.PriceRevision{Number: n}
		if n > 0 {
			row := schemas.PriceRow{Provider: "p", Model: "m", Match: []schemas.MatchRule{{Exact: "m"}}}
			row.Tokens.Set(schemas.Input, int64(n)*1000)
			row.Tokens.Set(schemas.Output, int64(n)*5000)
			rev.Rows = []schemas.PriceRow{row}
		}
		book, err := schemas.BuildPriceBook(rev)
		if err != nil {
			t.Fatal(err)
		}
		books = append(books, book)
	}
	return books
}
