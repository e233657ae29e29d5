package schemas_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/agentik-os/panda/schemas"
)

func goodEvent() *schemas.Event {
	return &schemas.Event{ID: "1", Source: "/runtime/eu-1", Type: schemas.TypeLLMCall, Time: 1_770_000_000_000,
		Provider: "anthropic", Model: "claude-sonnet-4-5", Tokens: schemas.Tokens{schemas.Input: 1}}
}

func TestValidateAccepts(t *testing.T) {
	for name, change := range map[string]func(*schemas.Event){
		"plain":     func(*schemas.Event) {},
		"at limits": func(e *schemas.Event) { fillToLimits(e) },
		"epoch":     func(e *schemas.Event) { e.Time = 0 },
		"tool call": func(e *schemas.Event) { *e = schemas.Event{ID: "1", Source: "s", Type: schemas.TypeToolCall} },
		"sample":    func(e *schemas.Event) { asSample(e, schemas.LevelStorageBytes, 1e18) },
		"adjustment": func(e *schemas.Event) {
			e.Type, e.Tokens[schemas.Output] = schemas.TypeAdjustment, -schemas.TokensPerBucketMax
		},
		"void":      func(e *schemas.Event) { asVoid(e) },
		"not ascii": func(e *schemas.Event) { e.Department = "Büro 東京" },
	} {
		t.Run(name, func(t *testing.T) {
			e := goodEvent()
			change(e)
			if err := e.Validate(); err != nil {
				t.Error(err)
			}
		})
	}
}

func fillToLimits(e *schemas.Event) {
	long := strings.Repeat("x", schemas.NameBytesMax)
	e.ID, e.Source = strings.Repeat("i", schemas.IDBytesMax), strings.Repeat("s", schemas.IDBytesMax)
	for _, f := range []*string{&e.Provider, &e.Model, &e.Department, &e.CostCenter, &e.Agent, &e.User, &e.Session, &e.Run,
		&e.ParentRun, &e.ServiceTier} {
		*f = long
	}
	e.Error = strings.Repeat("e", schemas.ErrorBytesMax)
	e.LatencyMS = schemas.LatencyMax.Milliseconds()
	for i := range e.Tokens {
		e.Tokens[i] = schemas.TokensPerBucketMax
	}
	for i := range schemas.TagsMax {
		e.Tags = append(e.Tags, schemas.Tag{Key: fmt.Sprintf("%0*d", schemas.TagKeyMax, i), Value: strings.Repeat("v", schemas.TagValueMax)})
	}
	for i := range schemas.UnitsMax {
		e.Units = append(e.Units, schemas.Unit{Name: fmt.Sprintf("%0*d", schemas.UnitNameMax, i), Count: schemas.TokensPerBucketMax})
	}
}

func asSample(e *schemas.Event, level string, n int64) {
	*e = schemas.Event{ID: "1", Source: "s", Type: schemas.TypeResourceSample, Units: []schemas.Unit{{Name: level, Count: n}}}
}

func asVoid(e *schemas.Event) {
	*e = schemas.Event{ID: "2", Source: "s", Type: schemas.TypeVoid, Corrects: schemas.EventRef{Source: "s", ID: "1"}}
}

func TestValidateRefuses(t *testing.T) {
	type event = schemas.Event
	long := strings.Repeat("x", schemas.NameBytesMax+1)
	for name, c := range map[string]struct {
		change func(*event)
		want   string // pointer and code
	}{
		"no id":               {func(e *event) { e.ID = "" }, "/id missing"},
		"no source":           {func(e *event) { e.Source = "" }, "/source missing"},
		"long id":             {func(e *event) { e.ID = long }, "/id too_long"},
		"control character":   {func(e *event) { e.Source = "a\nb" }, "/source malformed"},
		"delete character":    {func(e *event) { e.Agent = "\x7f" }, "/data/agent malformed"},
		"not UTF-8":           {func(e *event) { e.Agent = "\xff" }, "/data/agent malformed"},
		"type":                {func(e *event) { e.Type = "llm" }, "/type unknown"},
		"before 1970":         {func(e *event) { e.Time = -1 }, "/time out_of_range"},
		"2100":                {func(e *event) { e.Time = 4_102_444_800_000 }, "/time out_of_range"},
		"long model":          {func(e *event) { e.Model = long }, "/data/model too_long"},
		"no model":            {func(e *event) { e.Model = "" }, "/data/model missing"},
		"long error":          {func(e *event) { e.Error = strings.Repeat("x", schemas.ErrorBytesMax+1) }, "/data/error too_long"},
		"status":              {func(e *event) { e.Status = "done" }, "/data/status unknown"},
		"completeness":        {func(e *event) { e.Completeness = "guessed" }, "/data/completeness unknown"},
		"negative tokens":     {func(e *event) { e.Tokens[schemas.CacheRead] = -1 }, "/data/tokens/cache_read out_of_range"},
		"too many tokens":     {func(e *event) { e.Tokens[schemas.Image] = schemas.TokensPerBucketMax + 1 }, "/data/tokens/image out_of_range"},
		"negative unit":       {func(e *event) { e.Units = []schemas.Unit{{Name: "a/b", Count: -1}} }, "/data/units/a~1b out_of_range"},
		"large unit":          {func(e *event) { e.Units = []schemas.Unit{{Name: "a", Count: 1e13}} }, "/data/units/a out_of_range"},
		"unnamed unit":        {func(e *event) { e.Units = []schemas.Unit{{Count: 1}} }, "/data/units missing"},
		"repeated unit":       {func(e *event) { e.Units = []schemas.Unit{{Name: "a"}, {Name: "a"}} }, "/data/units/a repeated"},
		"many units":          {func(e *event) { e.Units = make([]schemas.Unit, schemas.UnitsMax+1) }, "/data/units too_many"},
		"many tags":           {func(e *event) { e.Tags = make([]schemas.Tag, schemas.TagsMax+1) }, "/data/tags too_many"},
		"unnamed tag":         {func(e *event) { e.Tags = []schemas.Tag{{Value: "v"}} }, "/data/tags missing"},
		"repeated tag":        {func(e *event) { e.Tags = []schemas.Tag{{Key: "~"}, {Key: "~"}} }, "/data/tags/~0 repeated"},
		"long tag":            {func(e *event) { e.Tags = []schemas.Tag{{Key: "k", Value: long}} }, "/data/tags/k too_long"},
		"negative latency":    {func(e *event) { e.LatencyMS = -1 }, "/data/latency_ms out_of_range"},
		"long latency":        {func(e *event) { e.LatencyMS = schemas.LatencyMax.Milliseconds() + 1 }, "/data/latency_ms out_of_range"},
		"void of nothing":     {func(e *event) { asVoid(e); e.Corrects = schemas.EventRef{} }, "/data/corrects missing"},
		"void half named":     {func(e *event) { asVoid(e); e.Corrects.ID = "" }, "/data/corrects missing"},
		"void with tokens":    {func(e *event) { asVoid(e); e.Tokens[0] = 1 }, "/data not_allowed"},
		"empty adjustment":    {func(e *event) { e.Type, e.Tokens = schemas.TypeAdjustment, schemas.Tokens{} }, "/data missing"},
		"adjustment half ref": {func(e *event) { e.Type, e.Corrects.ID = schemas.TypeAdjustment, "1" }, "/data/corrects missing"},
		"adjustment too dear": {func(e *event) {
			e.Type, e.HasAmount, e.Amount = schemas.TypeAdjustment, true, schemas.Mul(9_000_000, schemas.PicoPerUSD).Add(schemas.Pico(1))
		}, "/data/amount out_of_range"},
		"call that corrects": {func(e *event) { e.Corrects = schemas.EventRef{Source: "s", ID: "1"} }, "/data not_allowed"},
		"call with amount":   {func(e *event) { e.HasAmount = true }, "/data not_allowed"},
		"sample with tokens": {func(e *event) { asSample(e, schemas.LevelAgents, 1); e.Tokens[0] = 1 }, "/data/tokens not_allowed"},
		"sample with units":  {func(e *event) { asSample(e, "web_search", 1) }, "/data/levels/web_search unknown"},
		"sample below zero":  {func(e *event) { asSample(e, schemas.LevelAgents, -1) }, "/data/levels/agents out_of_range"},
		"sample too large":   {func(e *event) { asSample(e, schemas.LevelStorageBytes, 1e18+1) }, "/data/levels/storage_gb out_of_range"},
		"a level's name elsewhere": {func(e *event) {
			e.Units = []schemas.Unit{{Name: schemas.LevelStorageBytes, Count: 1e13}}
		}, "/data/units/storage_bytes out_of_range"},
	} {
		t.Run(name, func(t *testing.T) {
			e := goodEvent()
			c.change(e)
			err := e.Validate()
			var field *schemas.FieldError
			if !errors.As(err, &field) || !errors.Is(err, schemas.ErrInvalid) {
				t.Fatalf("got %v, want %s", err, c.want)
			}
			if got := field.Pointer + " " + field.Code; got != c.want || field.Detail == "" {
				t.Errorf("got %s (%s), want %s", got, field.Detail, c.want)
			}
		})
	}
}

func TestValidateTime(t *testing.T) {
	now := time.Date(2026, 2, 1, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		at   time.Time
		past time.Duration
		want string
	}{
		{now, schemas.PastMax, ""},
		{now.Add(schemas.FutureMax), schemas.PastMax, ""},
		{now.Add(schemas.FutureMax + time.Millisecond), schemas.PastMax, schemas.CodeTooEarly},
		{now.Add(-schemas.PastMax), schemas.PastMax, ""},
		{now.Add(-schemas.PastMax - time.Millisecond), schemas.PastMax, schemas.CodeTooLate},
		{now.AddDate(-20, 0, 0), 0, ""},
	} {
		e := &schemas.Event{Time: c.at.UnixMilli()}
		err := e.ValidateTime(now, c.past)
		var field *schemas.FieldError
		if c.want == "" && err == nil || errors.As(err, &field) && field.Code == c.want && field.Pointer == "/time" {
			continue
		}
		t.Errorf("%s: %v, want %q", c.at, err, c.want)
	}
}

// TestValidateNeverPanics feeds Validate events of any content; what it lets
// pass keeps the limits that later sums rely on.
func TestValidateNeverPanics(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.OneOf(rapid.Just(""), rapid.Just("x"), rapid.String())
		e := &schemas.Event{ID: text.Draw(t, "id"), Source: text.Draw(t, "source"), Model: text.Draw(t, "model"),
			Type: rapid.SampledFrom(append(schemas.EventTypes(), "")).Draw(t, "type"), Time: rapid.Int64().Draw(t, "time"),
			Error: text.Draw(t, "error"), LatencyMS: rapid.Int64().Draw(t, "latency")}
		if rapid.Bool().Draw(t, "plain") {
			e.ID, e.Source, e.Model, e.Time, e.LatencyMS = "i", "s", "m", 1, 1
		}
		for i := range e.Tokens {
			e.Tokens[i] = rapid.Int64Range(-2, schemas.TokensPerBucketMax+2).Draw(t, "tokens")
		}
		for range rapid.IntRange(0, 2).Draw(t, "units") {
			e.Units = append(e.Units, schemas.Unit{Name: text.Draw(t, "unit"), Count: rapid.Int64().Draw(t, "count")})
		}
		if err := e.Validate(); err != nil {
			if !errors.Is(err, schemas.ErrInvalid) {
				t.Fatal(err)
			}
			return
		}
		for _, n := range e.Tokens {
			if n > schemas.TokensPerBucketMax || n < 0 && e.Type != schemas.TypeAdjustment {
				t.Fatalf("%d tokens on a valid %s", n, e.Type)
			}
		}
		for _, u := range e.Units {
			if u.Count > 1e18 || u.Count < 0 && e.Type != schemas.TypeAdjustment {
				t.Fatalf("%d of %s on a valid %s", u.Count, u.Name, e.Type)
			}
		}
	})
}
