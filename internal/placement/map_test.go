package placement_test

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/agentik-os/panda/internal/placement"
)

// facts are what stream CONTROL would say.
type facts struct {
	placed atomic.Pointer[map[string]string]
}

func (f *facts) set(placed map[string]string) { f.placed.Store(&placed) }

func (f *facts) get() map[string]string {
	if placed := f.placed.Load(); placed != nil {
		return *placed
	}
	return nil
}

func TestViewStandsStill(t *testing.T) {
	t.Parallel()
	var known facts
	m := placement.New(placement.Config{Shared: "panda", Placed: known.get})
	before, err := m.View(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	known.set(map[string]string{"b": "panda_b", "a": "panda_a"})
	after, err := m.View(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer after.Close()
	if got := before.Database("a"); got != "panda" {
		t.Errorf("a view that was taken before a change says %s after it", got)
	}
	if got := after.Database("a"); got != "panda_a" {
		t.Errorf("a view that was taken after a change says %s", got)
	}
	want := []placement.Place{
		{Database: "panda", Elsewhere: []string{"a", "b"}},
		{Database: "panda_a", Elsewhere: []string{}}, {Database: "panda_b", Elsewhere: []string{}},
	}
	if diff := cmp.Diff(want, after.All()); diff != "" {
		t.Errorf("all places (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want[:2], after.Among([]string{"x", "a", "y"})); diff != "" {
		t.Errorf("places of three tenants (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want[2:], after.Among([]string{"b"})); diff != "" {
		t.Errorf("places of one tenant (-want +got):\n%s", diff)
	}

	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := m.Drain(ended); !errors.Is(err, context.Canceled) {
		t.Errorf("drain with a reader of the places before: %v", err)
	}
	drained := make(chan error, 1)
	go func() { drained <- m.Drain(t.Context()) }()
	before.Close()
	before.Close()
	if err := <-drained; err != nil {
		t.Errorf("drain: %v", err)
	}
}

func TestViewMakesDatabases(t *testing.T) {
	t.Parallel()
	var known facts
	var made []string
	fail := errors.New("no room")
	m := placement.New(placement.Config{Shared: "panda", Placed: known.get, Prepare: func(_ context.Context, database string) error {
		if fail != nil {
			return fail
		}
		made = append(made, database)
		return nil
	}})
	known.set(map[string]string{"b": "panda_b", "a": "panda_a"})
	if _, err := m.View(t.Context()); !errors.Is(err, fail) {
		t.Fatalf("a view whose databases cannot be made: %v", err)
	}
	fail = nil
	for range 2 {
		view, err := m.View(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		view.Close()
	}
	m.Forget("panda_b")
	view, err := m.View(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	view.Close()
	if want := []string{"panda_a", "panda_b", "panda_b"}; !slices.Equal(made, want) {
		t.Errorf("made %v, want %v", made, want)
	}
}
