package ingest

import (
	"slices"
	"strings"

	"github.com/agentik-os/panda/schemas"
)

// A dataField is a member of data, by number.
type dataField uint8

const (
	fieldUnknown dataField = iota
	fieldProvider
	fieldModel
	fieldDepartment
	fieldCostCenter
	fieldAgent
	fieldUser
	fieldSession
	fieldRun
	fieldParentRun
	fieldStatus
	fieldError
	fieldLatency
	fieldCompleteness
	fieldServiceTier
	fieldTokens
	fieldTotal
	fieldUsage
	fieldUnits
	fieldTags
	fieldLevels
	fieldCorrects
	fieldAmount
	fieldCount = int(iota)
)

// fieldNames are the members' names on the wire.
var fieldNames = [fieldCount]string{
	"", "provider", "model", "department", "cost_center", "agent", "user", "session", "run", "parent_run",
	"status", "error", "latency_ms", "completeness", "service_tier", "tokens", "total_tokens", "usage",
	"units", "tags", "levels", "corrects", "amount",
}

func (f dataField) pointer() string { return "/data/" + fieldNames[f] }

func dataFieldOf(key []byte) dataField {
	switch string(key) {
	case "provider":
		return fieldProvider
	case "model":
		return fieldModel
	case "department":
		return fieldDepartment
	case "cost_center":
		return fieldCostCenter
	case "agent":
		return fieldAgent
	case "user":
		return fieldUser
	case "session":
		return fieldSession
	case "run":
		return fieldRun
	case "parent_run":
		return fieldParentRun
	case "status":
		return fieldStatus
	case "error":
		return fieldError
	case "latency_ms":
		return fieldLatency
	case "completeness":
		return fieldCompleteness
	case "service_tier":
		return fieldServiceTier
	case "tokens":
		return fieldTokens
	case "total_tokens":
		return fieldTotal
	case "usage":
		return fieldUsage
	case "units":
		return fieldUnits
	case "tags":
		return fieldTags
	case "levels":
		return fieldLevels
	case "corrects":
		return fieldCorrects
	case "amount":
		return fieldAmount
	}
	return fieldUnknown
}

// data decodes the members of data.
func (d *EventDecoder) data(e *schemas.Event) error {
	s := &d.scan
	if err := s.enter('{', "an object"); err != nil {
		return err
	}
	for first := true; ; first = false {
		key, more, err := s.key(first)
		if err != nil || !more {
			return err
		}
		f := dataFieldOf(key)
		if f == fieldUnknown {
			return schemas.Invalid(pointerTo("/data", key), schemas.CodeUnknown,
				"%q is not a field of a usage event; put labels of your own in data.tags", clipped(key))
		}
		if d.fields&(1<<f) != 0 {
			return repeated(f.pointer())
		}
		d.fields |= 1 << f
		if err := d.dataField(e, f); err != nil {
			return at(f.pointer(), err)
		}
	}
}

func (d *EventDecoder) dataField(e *schemas.Event, f dataField) (err error) {
	switch f {
	case fieldProvider:
		err = d.nameField(&e.Provider)
	case fieldModel:
		err = d.nameField(&e.Model)
	case fieldDepartment:
		err = d.nameField(&e.Department)
	case fieldCostCenter:
		err = d.nameField(&e.CostCenter)
	case fieldAgent:
		err = d.nameField(&e.Agent)
	case fieldUser:
		err = d.textField(&e.User, schemas.NameBytesMax)
	case fieldSession:
		err = d.textField(&e.Session, schemas.NameBytesMax)
	case fieldRun:
		err = d.textField(&e.Run, schemas.NameBytesMax)
	case fieldParentRun:
		err = d.textField(&e.ParentRun, schemas.NameBytesMax)
	case fieldStatus:
		err = d.nameField(&e.Status)
	case fieldError:
		err = d.textField(&e.Error, schemas.ErrorBytesMax)
	case fieldLatency:
		e.LatencyMS, err = d.scan.integer()
	case fieldCompleteness:
		err = d.nameField(&e.Completeness)
	case fieldServiceTier:
		err = d.nameField(&e.ServiceTier)
	case fieldTokens:
		err = d.tokens(&e.Tokens)
	case fieldTotal:
		d.total, err = d.totalTokens()
	case fieldUsage:
		err = d.captureUsage()
	case fieldUnits:
		err = d.unitsField(e)
	case fieldTags:
		err = d.tagsField(e)
	case fieldLevels:
		err = d.levelsField()
	case fieldCorrects:
		err = d.correctsField(e)
	case fieldAmount:
		e.Amount, err = d.amount()
		e.HasAmount = err == nil
	}
	return err
}

func (d *EventDecoder) nameField(to *string) error {
	b, err := d.scan.str()
	if err == nil {
		err = fits(b, schemas.NameBytesMax)
	}
	if err == nil {
		*to = d.name(b)
	}
	return err
}

func (d *EventDecoder) textField(to *string, bytesMax int) error {
	b, err := d.scan.str()
	if err == nil {
		err = fits(b, bytesMax)
	}
	if err == nil {
		*to = d.text(b)
	}
	return err
}

// tagsField reads an object of free labels. Validate finds repeated keys, which
// stand side by side once sorted.
func (d *EventDecoder) tagsField(e *schemas.Event) error {
	s := &d.scan
	if err := s.enter('{', "an object of text by name"); err != nil {
		return err
	}
	start := len(d.tags)
	for first := true; ; first = false {
		key, more, err := s.key(first)
		if err != nil {
			return err
		}
		if !more {
			break
		}
		if len(d.tags)-start == schemas.TagsMax {
			return schemas.Invalid("", schemas.CodeTooMany, "there are more than %d tags; send fewer", schemas.TagsMax)
		}
		if err := fits(key, schemas.TagKeyMax); err != nil {
			return at(pointerTo("/data/tags", key), err)
		}
		t := schemas.Tag{Key: d.name(key)}
		value, err := s.str()
		if err == nil {
			err = fits(value, schemas.TagValueMax)
		}
		if err != nil {
			return at(pointerTo("/data/tags", []byte(t.Key)), err)
		}
		t.Value = d.name(value)
		d.tags = append(d.tags, t)
	}
	tags := d.tags[start:len(d.tags):len(d.tags)]
	if len(tags) == 0 {
		return nil
	}
	slices.SortFunc(tags, func(a, b schemas.Tag) int { return strings.Compare(a.Key, b.Key) })
	e.Tags = tags
	return nil
}

// correctsField reads the reference to another event.
func (d *EventDecoder) correctsField(e *schemas.Event) error {
	s := &d.scan
	if err := s.enter('{', "an object of source and id"); err != nil {
		return err
	}
	var hasSource, hasID bool
	for first := true; ; first = false {
		key, more, err := s.key(first)
		if err != nil || !more {
			return err
		}
		pointer := pointerTo("/data/corrects", key)
		to, seen := &e.Corrects.Source, &hasSource
		switch string(key) {
		case "source":
		case "id":
			to, seen = &e.Corrects.ID, &hasID
		default:
			return schemas.Invalid(pointer, schemas.CodeUnknown, "%q is not a part of corrects; use source and id", clipped(key))
		}
		if *seen {
			return repeated(pointer)
		}
		*seen = true
		if err := d.textField(to, schemas.IDBytesMax); err != nil {
			return at(pointer, err)
		}
	}
}

// finishData settles what several members of data decide together.
func (d *EventDecoder) finishData(e *schemas.Event) error {
	has := func(f dataField) bool { return d.fields>>f&1 == 1 }
	if has(fieldUsage) {
		if has(fieldTokens) {
			return schemas.Invalid("/data/usage", schemas.CodeNotAllowed,
				"tokens and usage say the same thing twice; send one of them")
		}
		if err := d.applyUsage(e); err != nil {
			return err
		}
	}
	if err := d.finishLevels(e); err != nil {
		return err
	}
	if has(fieldTotal) && d.total != e.Tokens.Total() {
		e.Flag = schemas.FlagTotalMismatch
	}
	if e.Status == "" {
		e.Status = schemas.StatusOK
	}
	if e.Completeness == "" {
		e.Completeness = schemas.CompletenessReported
	}
	e.ServiceTier = tierOf(e.ServiceTier)
	return nil
}

// tierOf returns "" for the names of the list price.
func tierOf(name string) string {
	if name == "standard" || name == "default" {
		return ""
	}
	return name
}
