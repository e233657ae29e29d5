package erasure

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/agentik-os/panda/internal/eventlog/eventlogtest"
	"github.com/agentik-os/panda/schemas"
)

// rising returns some positions in order, with runs and gaps.
func rising(rng *rand.Rand, n int) (seqs []uint64) {
	at := uint64(0)
	for range n {
		at += 1 + uint64(rng.IntN(3)*rng.IntN(40))
		seqs = append(seqs, at)
	}
	return seqs
}

// What is kept of a plan comes back as it was, in however many chunks, and on another
// node; and exactly its positions are covered.
func TestPlacesCoverWhatWasErased(t *testing.T) {
	const seed = 7
	rng := rand.New(rand.NewPCG(seed, seed))
	log := eventlogtest.Open(t)
	first, second := NewPlaces(log, schemas.Shard{}), NewPlaces(log, schemas.Shard{})
	var entries []entry
	all := map[uint64]bool{}
	for i, seq := range rising(rng, 3*chunkEntries) {
		e := entry{From: seq, To: seq, Events: uint64(i), Seqs: []uint64{seq}, Cost: schemas.Pico(int64(i)), RowHash: rng.Uint64()}
		if i%5 == 0 {
			e.Seqs = nil
		} else {
			all[seq] = true
		}
		entries = append(entries, e)
	}
	if covered, err := second.Cover(t.Context(), 1, 1); err != nil || covered {
		t.Errorf("before: %t, %v", covered, err)
	}
	if err := first.put(t.Context(), "era_a-0", entries); err != nil {
		t.Fatal(err)
	}
	got, err := second.of(t.Context(), "era_a-0")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(entries, got, cmpopts.EquateEmpty(), cmpopts.EquateComparable(schemas.Money{})); diff != "" {
		t.Fatal(diff)
	}
	last := entries[len(entries)-1].To
	for range 200 { // what is not covered is asked of the log each time
		from := 1 + rng.Uint64N(last+5)
		to := from + rng.Uint64N(4)
		want := true
		for seq := from; seq <= to; seq++ {
			want = want && all[seq]
		}
		if covered, err := second.Cover(t.Context(), from, to); err != nil || covered != want {
			t.Fatalf("%d to %d: covered %t, want %t, %v", from, to, covered, want, err)
		}
	}
	if covered, err := second.Cover(t.Context(), 5, 4); err != nil || !covered {
		t.Errorf("nothing is not covered: %v", err)
	}
	// Without a state the plan is nobody's.
	if err := first.prune(t.Context(), []*state{{Erasure: "era_b"}}); err != nil {
		t.Fatal(err)
	}
	third := NewPlaces(log, schemas.Shard{})
	if covered, err := third.Cover(t.Context(), slices.Min(entries[1].Seqs), entries[1].To); err != nil || covered {
		t.Errorf("after prune: %t, %v", covered, err)
	}
}

func TestCertificateIsSealed(t *testing.T) {
	c := Certificate{Version: 1, Erasure: "era_x", TenantID: "ten_x", Erased: map[string]uint64{"usage_raw": 3},
		Months: []Month{{Month: "2026-02", Tokens: 5, Cost: schemas.Pico(7)}}}
	c.seal()
	if err := c.Check(); err != nil {
		t.Error(err)
	}
	for name, change := range map[string]func(*Certificate){
		"a count": func(c *Certificate) { c.Erased = map[string]uint64{"usage_raw": 4} },
		"a month": func(c *Certificate) { c.Months = nil },
		"a name":  func(c *Certificate) { c.TenantID = "ten_y" },
		"the sum": func(c *Certificate) { c.SHA256 = "" },
	} {
		changed := c
		change(&changed)
		if changed.Check() == nil {
			t.Errorf("%s was changed, and nobody notices", name)
		}
	}
}

func TestMonthsOfRoundsAddUp(t *testing.T) {
	st := state{}
	st.addMonths([]Month{{"2026-02", 1, 10, schemas.Pico(5)}, {"2026-03", 1, 1, schemas.Pico(1)}})
	st.addMonths([]Month{{"2026-01", 1, 2, schemas.Pico(2)}, {"2026-02", 2, 3, schemas.Pico(4)}})
	want := []Month{{"2026-01", 1, 2, schemas.Pico(2)}, {"2026-02", 3, 13, schemas.Pico(9)}, {"2026-03", 1, 1, schemas.Pico(1)}}
	if diff := cmp.Diff(want, st.Months, cmpopts.EquateComparable(schemas.Money{})); diff != "" {
		t.Error(diff)
	}
}
