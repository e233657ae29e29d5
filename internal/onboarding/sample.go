package onboarding

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/agentik-os/panda/schemas"
)

const (
	// Conversations is how many sample conversations a template has.
	Conversations = 50
	// SampleSource is the source of sample events, ProvisionSource that of the number
	// of agents. Nobody else's ids are in their way.
	SampleSource    = "panda/sample"
	ProvisionSource = "panda/provision"
	// sampleDays is over which days before the tenant's creation they are spread.
	sampleDays = 7
)

// SampleTag marks sample events.
func SampleTag() schemas.Tag { return schemas.Tag{Key: "sample", Value: "true"} }

// generationID begins the ids of a generation, which counts from 1.
func (t *Template) generationID(generation int) string {
	return fmt.Sprintf("%s/v%d/g%d", t.Name, t.version, generation)
}

// FirstID is the id of the first message of a generation: it is there if the
// generation is.
func (t *Template) FirstID(generation int) string {
	return t.generationID(generation) + "/c01/m1"
}

// Sample returns the messages of the sample conversations: Conversations sessions in
// the week before created, each of two to six messages. They hold no tokens, units or
// money. The same arguments give the same events.
func (t *Template) Sample(created time.Time, generation int) []schemas.Event {
	hash := fnv.New64a()
	_, _ = hash.Write([]byte(t.generationID(generation)))
	random := rand.New(rand.NewPCG(hash.Sum64(), uint64(t.version)))
	begin := created.UTC().Truncate(time.Second).AddDate(0, 0, -sampleDays)
	var events []schemas.Event
	for c := range Conversations {
		agent := &t.Agents[random.IntN(len(t.Agents))]
		session := fmt.Sprintf("%s/c%02d", t.generationID(generation), c+1)
		at := begin.Add(time.Duration(c) * sampleDays * 24 * time.Hour / Conversations)
		user := fmt.Sprintf("sample-user-%d", 1+random.IntN(12))
		topic := t.topics[random.IntN(len(t.topics))]
		for m := range 2 + 2*random.IntN(3) {
			e := schemas.Event{
				ID: fmt.Sprintf("%s/m%d", session, m+1), Source: SampleSource, Type: schemas.TypeMessage, Time: at.UnixMilli(),
				Department: agent.Department, Agent: agent.Name, User: user, Session: session, Status: schemas.StatusOK,
				Tags: []schemas.Tag{SampleTag(), {Key: "template", Value: t.Name}, {Key: "topic", Value: topic}},
			}
			if m%2 == 1 { // the agent's answer; one in twenty fails
				e.LatencyMS = 400 + random.Int64N(2600)
				if random.IntN(20) == 0 {
					e.Status, e.Error = schemas.StatusError, "sample: the tool did not answer"
				}
			}
			events = append(events, e)
			at = at.Add(time.Duration(10+random.IntN(80)) * time.Second)
		}
	}
	return events
}

// Voids returns the events that take events back, with ids of their own.
func Voids(events []schemas.Event) []schemas.Event {
	voids := make([]schemas.Event, len(events))
	for i := range events {
		e := &events[i]
		voids[i] = schemas.Event{
			ID: e.ID + "/void", Source: e.Source, Type: schemas.TypeVoid, Time: e.Time,
			Corrects: schemas.EventRef{Source: e.Source, ID: e.ID}, Tags: []schemas.Tag{SampleTag()},
		}
	}
	return voids
}

// AgentsLevel returns the sample that says how many agents the template has.
func (t *Template) AgentsLevel(at time.Time) schemas.Event {
	return schemas.Event{
		ID: t.LevelID(), Source: ProvisionSource, Type: schemas.TypeResourceSample, Time: at.UnixMilli(),
		Units: []schemas.Unit{{Name: schemas.LevelAgents, Count: int64(len(t.Agents))}},
		Tags:  []schemas.Tag{{Key: "template", Value: t.Name}},
	}
}

// LevelID is the id of AgentsLevel.
func (t *Template) LevelID() string { return fmt.Sprintf("%s/v%d/agents", t.Name, t.version) }

// IDs returns the ids of events.
func IDs(events []schemas.Event) []string {
	ids := make([]string, len(events))
	for i := range events {
		ids[i] = events[i].ID
	}
	return ids
}

// Sessions counts the conversations among events.
func Sessions(events []schemas.Event) int {
	var names []string
	for i := range events {
		names = append(names, events[i].Session)
	}
	slices.Sort(names)
	return len(slices.Compact(names))
}
