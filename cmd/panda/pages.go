package main

import (
	"context"
	"encoding/json"
	"net/url"
	"strconv"
)

// pageMax is how many entries a page is asked for; a server may give fewer.
const pageMax = 200

// allPages follows the cursors of a listing until it ends or limit entries are
// there; limit 0 is all. It returns the entries and, for -o json, one answer
// that holds them all under their name.
func allPages[Page, Entry any](ctx context.Context, c *apiClient, path string, query url.Values, name string, limit int,
	read func(Page) ([]Entry, string)) ([]byte, []Entry, error) {
	var entries []Entry
	raws := []json.RawMessage{}
	q := url.Values{}
	for k, v := range query {
		q[k] = v
	}
	for {
		want := pageMax
		if limit > 0 {
			want = min(want, limit-len(entries))
		}
		q.Set("limit", strconv.Itoa(want))
		page, body, err := call[Page](ctx, c, get(path, q))
		if err != nil {
			return nil, nil, err
		}
		var whole map[string]json.RawMessage
		var list []json.RawMessage
		if err := json.Unmarshal(body, &whole); err == nil {
			_ = json.Unmarshal(whole[name], &list) // decoded once before: it is a list
		}
		got, next := read(page)
		if limit > 0 && len(got) > want {
			got, list = got[:want], list[:want]
		}
		entries, raws = append(entries, got...), append(raws, list...)
		if next == "" || len(got) == 0 || limit > 0 && len(entries) >= limit {
			break
		}
		q.Set("cursor", next)
	}
	all, err := json.Marshal(map[string]any{name: raws})
	return all, entries, err
}
