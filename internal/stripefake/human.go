package stripefake

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
)

// Human does a call as somebody in front of the dashboard: in the process, with no fault
// on the way, and without an idempotency key. The answer is decoded into into, unless
// that is nil. It returns the status; err is about the answer's form only.
func (s *Server) Human(method, path, form, key string, into any) (status int, err error) {
	r, err := http.NewRequest(method, path, strings.NewReader(form))
	if err != nil {
		return 0, fmt.Errorf("make %s %s: %w", method, path, err)
	}
	r.RequestURI = path
	r.Header.Set("Authorization", "Bearer "+key)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r = r.WithContext(withoutFaults(r.Context()))
	w := &recorder{header: http.Header{}, status: http.StatusOK}
	s.ServeHTTP(w, r)
	if into == nil || w.status != http.StatusOK {
		return w.status, nil
	}
	if err := json.Unmarshal(w.body.Bytes(), into); err != nil {
		return w.status, fmt.Errorf("decode the answer to %s %s: %w", method, path, err)
	}
	return w.status, nil
}
