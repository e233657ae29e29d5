package alerting

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/agentik-os/panda/internal/eventlog/eventlogtest"
	"github.com/agentik-os/panda/schemas"
)

// behindMeter is the source of a node that is behind: it gives readings of the past, with
// the limits, the usage and the clock of then.
type behindMeter struct {
	*meter
	rng  *rand.Rand
	past []Reading
}

func (m *behindMeter) Reading(ctx context.Context, tenant string) (Reading, error) {
	r, err := m.meter.Reading(ctx, tenant)
	if err != nil {
		return r, err
	}
	if m.past = append(m.past, r); m.rng.IntN(3) > 0 {
		r = m.past[m.rng.IntN(len(m.past))]
	}
	return r, nil
}

// TestANodeThatIsBehind draws paths on which one node looks at the past, between the looks
// of one that does not, without a lease. Whatever it decides, nothing fires twice, nothing
// is taken back by a look that counted less, and after the other one's next look exactly
// that fires which is crossed.
func TestANodeThatIsBehind(t *testing.T) {
	log := eventlogtest.Open(t)
	for round := range *roundsFlag {
		seed := *seedFlag + uint64(round)
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			p := newPath(t, log, seed)
			p.tenant = fmt.Sprint("ten_behind_", seed)
			behind := &behindMeter{meter: p.meter, rng: rand.New(rand.NewPCG(seed, 9))}
			p.nodes[1].stop()
			p.nodes[1] = start(t, p.faults[1], behind, nil, false)
			p.begin()
			for range 30 {
				p.turn()
				p.meter.quiet[p.tenant] = false
				p.publish()
				p.look(behind)
				p.nodes[0].settle(t, p.tenant)
				p.converged()
				if t.Failed() {
					t.Fatalf("after:\n%s", strings.Join(p.trace, "\n"))
				}
			}
		})
	}
}

// look lets the node that is behind look a few times; it need not come to an end.
func (p *path) look(behind *behindMeter) {
	for range 1 + behind.rng.IntN(4) {
		seq, err := p.nodes[1].evaluator.evaluate(p.t.Context(), p.tenant, p.meter.at)
		if err == nil && seq > 0 && behind.rng.IntN(2) == 0 { // or its book is behind as well
			err = p.nodes[1].book.WaitFor(p.t.Context(), seq)
		}
		if err != nil {
			p.note("the node behind: %v", err)
		}
	}
	last, found, err := p.log.LastForSubject(p.t.Context(), schemas.StreamDecisions, SubjectsAlerts)
	if err == nil && found {
		err = p.nodes[0].book.WaitFor(p.t.Context(), last.Seq)
	}
	if err != nil {
		p.t.Error(err)
	}
}

// converged holds what fires now against what is crossed now.
func (p *path) converged() {
	want, got := map[string]bool{}, map[string]bool{}
	for _, l := range p.limits {
		if l == nil {
			continue
		}
		for _, threshold := range DefaultThresholds() {
			i := Identity{Limit: l.word, Name: l.name, Period: p.period(l), Revision: l.revision, Threshold: threshold}
			if p.oracle.crossed(p.used[p.key(l)], l.max, threshold) {
				want[identityText(&i)] = true
			}
		}
	}
	alerts, _ := p.nodes[0].book.List(Query{Tenant: p.tenant, State: Firing})
	for _, a := range alerts {
		level := a.Limit == LimitSessions // it may fire for ten minutes more
		if ahead := a.Period > p.meter.at.Format("2006-01-02")[:len(a.Period)]; !ahead && (!level || want[identityText(&a.Identity)]) {
			got[identityText(&a.Identity)] = true
		}
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		p.t.Errorf("what fires, -want +got:\n%s", diff)
	}
	fired, newest := map[string]int{}, map[string]uint64{}
	for _, r := range records(p.t, p.log, p.tenant) {
		id := r.Alert
		if r.Kind == Fired {
			fired[id]++
		}
		// An episode ends by a look that counted as much as the one that began it, but for
		// the end of a period and a limit that is gone.
		if r.Kind == Resolved && r.Cause == ByCorrection && r.AsOf < newest[id] {
			p.t.Errorf("%s is resolved as of %d, and was decided as of %d", identityText(&r.Identity), r.AsOf, newest[id])
		}
		newest[id] = r.AsOf
	}
	for id, n := range fired {
		if n > 1 {
			p.t.Errorf("%s fired %d times", id, n)
		}
	}
}
