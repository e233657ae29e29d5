package tenancy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/agentik-os/panda/internal/contact"
	"github.com/agentik-os/panda/schemas"
)

const (
	channelIDPrefix = "chn_"
	muteIDPrefix    = "mut_"
	contactIDChars  = 12
)

// Alerting returns how a tenant, or the platform for "", wants to be told of alerts. The
// value must not be changed. Without settings of its own it is empty.
func (r *Registry) Alerting(tenantID string) contact.Settings {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if s := r.fold.alerting[tenantID]; s != nil {
		return *s
	}
	return contact.Settings{}
}

// OpenChannel returns the address and the secret of a channel, for who calls there.
//
// Errors: ErrNotFound, contact.ErrSealed.
func (r *Registry) OpenChannel(tenantID, id string) (c contact.Channel, address, secret string, err error) {
	settings := r.Alerting(tenantID)
	c, ok := settings.Channel(id)
	if !ok {
		return contact.Channel{}, "", "", ErrNotFound
	}
	if r.cfg.ChannelKey == nil {
		return c, "", "", nil
	}
	address, secret, err = c.Open(r.cfg.ChannelKey, ownerOf(tenantID))
	return c, address, secret, err
}

func ownerOf(tenantID string) string { return cmp.Or(tenantID, ownerPlatform) }

// AddChannel makes a channel of a tenant, or of the platform for "", and returns it with
// its secret, which is not shown again. A webhook without one is given one.
//
// Errors: ErrNotFound (no such tenant), schemas.ErrInvalid (each wrong field),
// schemas.ErrConflict (too many, or the name is taken), schemas.ErrUnavailable.
func (r *Registry) AddChannel(ctx context.Context, by Actor, tenantID string, d contact.Draft) (made contact.Channel, secret string, err error) {
	d.ID, d.CreatedAt = channelIDPrefix+NewID(contactIDChars), clockOf(r.cfg.Now())
	if d.Type == contact.Webhook && d.Secret == "" {
		d.Secret = contact.NewWebhookSecret()
	}
	if err := r.checkChannel(&d); err != nil {
		return contact.Channel{}, "", err
	}
	made = d.Seal(r.cfg.ChannelKey, ownerOf(tenantID))
	err = r.changeAlerting(ctx, by, tenantID, "channel.created", func(s *contact.Settings) (map[string]change, error) {
		if len(s.Channels) >= contact.ChannelsMax {
			return nil, &conflict{fmt.Sprintf("there are %d channels, and no more can be made; remove one", contact.ChannelsMax)}
		}
		if nameTaken(s, made.Name, made.ID) {
			return nil, &conflict{"a channel is called " + made.Name + " already"}
		}
		s.Channels = append(s.Channels, made)
		return channelChanges(nil, &made), nil
	})
	if err != nil {
		return contact.Channel{}, "", err
	}
	return made.Shown(), d.Secret, nil
}

// UpdateChannel changes a channel. edit gets it as it is, without its secret and
// address; what it leaves empty of these stays. Type, id and time of creation stay.
//
// Errors are those of AddChannel, contact.ErrSealed, and what edit returns.
func (r *Registry) UpdateChannel(ctx context.Context, by Actor, tenantID, id string, edit func(*contact.Draft) error) (contact.Channel, error) {
	var next contact.Channel
	err := r.changeAlerting(ctx, by, tenantID, "channel.updated", func(s *contact.Settings) (map[string]change, error) {
		at := slices.IndexFunc(s.Channels, func(c contact.Channel) bool { return c.ID == id })
		if at < 0 {
			return nil, ErrNotFound
		}
		was := s.Channels[at]
		d := contact.Draft{Channel: was.Shown()}
		d.URL = ""
		if err := edit(&d); err != nil {
			return nil, err
		}
		d.ID, d.Type, d.CreatedAt = was.ID, was.Type, was.CreatedAt
		replaced, moved := d.Secret != "", d.Address != ""
		if r.cfg.ChannelKey != nil && (d.Address == "" || d.Secret == "") {
			address, secret, err := was.Open(r.cfg.ChannelKey, ownerOf(tenantID))
			if err != nil {
				return nil, err
			}
			d.Address, d.Secret = cmp.Or(d.Address, address), cmp.Or(d.Secret, secret)
		}
		if err := r.checkChannel(&d); err != nil {
			return nil, err
		}
		if nameTaken(s, d.Name, id) {
			return nil, &conflict{"a channel is called " + d.Name + " already"}
		}
		next = d.Seal(r.cfg.ChannelKey, ownerOf(tenantID))
		changes := channelChanges(&was, &next)
		if replaced {
			changes[id+".secret"] = change{From: "set", To: "replaced"}
		}
		if d.Type == contact.Slack && moved {
			changes[id+".url"] = change{To: next.URL} // the part that differs is not shown
		}
		s.Channels[at] = next
		return changes, nil
	})
	return next.Shown(), err
}

// RemoveChannel takes a channel away. What waits to be sent there is not sent any more.
//
// Errors: ErrNotFound, schemas.ErrConflict, schemas.ErrUnavailable.
func (r *Registry) RemoveChannel(ctx context.Context, by Actor, tenantID, id string) error {
	return r.changeAlerting(ctx, by, tenantID, "channel.removed", func(s *contact.Settings) (map[string]change, error) {
		was, ok := s.Channel(id)
		if !ok {
			return nil, ErrNotFound
		}
		s.Channels = slices.DeleteFunc(s.Channels, func(c contact.Channel) bool { return c.ID == id })
		return map[string]change{id + ".name": {From: was.Name}}, nil
	})
}

// Mute keeps alerts from being sent until a moment, and returns the mute with its id.
//
// Errors: ErrNotFound, schemas.ErrInvalid, schemas.ErrConflict, schemas.ErrUnavailable.
func (r *Registry) Mute(ctx context.Context, by Actor, tenantID string, m contact.Mute) (contact.Mute, error) {
	now := clockOf(r.cfg.Now())
	m.ID, m.By, m.At, m.Until = muteIDPrefix+NewID(contactIDChars), by.ID, now, clockOf(m.Until)
	if err := errors.Join(m.Validate(now)...); err != nil {
		return contact.Mute{}, err
	}
	err := r.changeAlerting(ctx, by, tenantID, "alert.muted", func(s *contact.Settings) (map[string]change, error) {
		// Those that are over are of no use to anybody.
		s.Mutes = slices.DeleteFunc(s.Mutes, func(m contact.Mute) bool { return !now.Before(m.Until) })
		if len(s.Mutes) >= contact.MutesMax {
			return nil, &conflict{fmt.Sprintf("there are %d mutes, and no more can be made; take one back", contact.MutesMax)}
		}
		s.Mutes = append(s.Mutes, m)
		changes := map[string]change{"until": {To: m.Until.Format(time.RFC3339)}}
		for name, text := range map[string]string{"alert": m.Alert, "rule": m.Rule, "limit": m.Limit, "name": m.Name, "reason": m.Reason} {
			if text != "" {
				changes[name] = change{To: text}
			}
		}
		return changes, nil
	})
	return m, err
}

// Unmute takes a mute back, by its id or by the id of the alert that it is of.
//
// Errors: ErrNotFound, schemas.ErrConflict, schemas.ErrUnavailable.
func (r *Registry) Unmute(ctx context.Context, by Actor, tenantID, id string) error {
	return r.changeAlerting(ctx, by, tenantID, "alert.unmuted", func(s *contact.Settings) (map[string]change, error) {
		changes := map[string]change{}
		for _, m := range s.Mutes {
			if m.ID == id || m.Alert != "" && m.Alert == id {
				changes[m.ID] = change{From: m.Until.Format(time.RFC3339)}
			}
		}
		if len(changes) == 0 {
			return nil, ErrNotFound
		}
		s.Mutes = slices.DeleteFunc(s.Mutes, func(m contact.Mute) bool { _, gone := changes[m.ID]; return gone })
		return changes, nil
	})
}

func nameTaken(s *contact.Settings, name, id string) bool {
	return slices.ContainsFunc(s.Channels, func(c contact.Channel) bool { return c.Name == name && c.ID != id })
}

func (r *Registry) checkChannel(d *contact.Draft) error {
	errs := d.Validate()
	if len(errs) == 0 && d.Type != contact.Email && r.cfg.ChannelKey == nil {
		return fmt.Errorf("no key to seal secrets with: %w", schemas.ErrUnavailable)
	}
	if len(errs) == 0 && r.cfg.CheckChannel != nil {
		errs = append(errs, r.cfg.CheckChannel(d.Type, d.Address, d.Secret))
	}
	if d.Type == contact.Email && d.Address+d.Secret != "" {
		errs = append(errs, schemas.Invalid("/url", schemas.CodeNotAllowed, "e-mail goes to addresses; an address and a secret are of the others"))
	}
	return errors.Join(errs...)
}

// changeAlerting records a change and returns when this node knows it. edit gets the
// settings as they are, to change, and is called again when somebody else was faster.
func (r *Registry) changeAlerting(ctx context.Context, by Actor, tenantID, action string,
	edit func(*contact.Settings) (map[string]change, error)) error {
	if err := r.known(); err != nil {
		return err
	}
	const triesMax = 5
	for range triesMax {
		r.mu.RLock()
		t := r.fold.tenants[tenantID]
		gone := tenantID != "" && (t == nil || t.Status == StatusErased)
		var was contact.Settings
		if s := r.fold.alerting[tenantID]; s != nil {
			was = *s
		}
		r.mu.RUnlock()
		if gone {
			return ErrNotFound
		}
		next := was.Clone()
		changes, err := edit(&next)
		if err != nil || len(changes) == 0 {
			return err
		}
		e := r.newEvent(typeAlertingChanged, by, tenantID, clockOf(r.cfg.Now()))
		e.Alerting, e.Changes, e.Action = &next, changes, action
		err = r.append(ctx, alertingSubject(tenantID), was.Revision, &e)
		if err == nil {
			return nil
		}
		if !errors.Is(err, schemas.ErrConflict) {
			return fmt.Errorf("change channels: %w", err)
		}
		if err := r.catchUp(ctx, alertingSubject(tenantID)); err != nil {
			return fmt.Errorf("change channels: %w", err)
		}
	}
	return &conflict{"others change the channels at the same time; try again"}
}

// channelFields are the words of the audit log. A secret is not among them.
func channelFields(c *contact.Channel) map[string]any {
	f := map[string]any{"name": c.Name, "type": c.Type, "disabled": c.Disabled}
	for name, list := range map[string][]string{"to": c.To, "rules": c.Rules, "limits": c.Limits} {
		if len(list) > 0 {
			f[name] = fmt.Sprint(list)
		}
	}
	if len(c.Roles) > 0 {
		f["roles"] = fmt.Sprint(c.Roles)
	}
	for name, text := range map[string]string{"url": c.URL, "severity": c.Severity, "digest": string(c.Digest)} {
		if text != "" {
			f[name] = text
		}
	}
	if c.Quiet != nil {
		f["quiet_hours"] = c.Quiet.From + "-" + c.Quiet.To + " " + c.Quiet.Zone
	}
	if c.HasSecret {
		f["secret"] = "set"
	}
	return f
}

func channelChanges(was, next *contact.Channel) map[string]change {
	before := map[string]any{}
	if was != nil {
		before = channelFields(was)
	}
	after, changes := channelFields(next), map[string]change{}
	for name, value := range after {
		if before[name] != value {
			changes[next.ID+"."+name] = change{From: before[name], To: value}
		}
	}
	for name, value := range before {
		if _, there := after[name]; !there {
			changes[next.ID+"."+name] = change{From: value}
		}
	}
	return changes
}
