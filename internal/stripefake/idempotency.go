package stripefake

import (
	"net/http"
	"time"
)

// keyKept is how long an answer is kept at least; then a key is pruned and the same
// request is executed again (/api/idempotent_requests).
const keyKept = 24 * time.Hour

// keyLengthMax is the longest key (/api/idempotent_requests).
const keyLengthMax = 255

// stored is an idempotency key that has come.
type stored struct {
	fingerprint string
	at          time.Time
	busy        bool
	result      result
}

// once runs a call unless its key was seen, and stores the answer whatever it is: Stripe
// keeps the status and body of the first request that began to execute, 500s included
// (/api/idempotent_requests).
func (s *Server) once(key, fingerprint string, run func() result) result {
	if len(key) > keyLengthMax+len("false ") {
		return result{err: invalid("", "", "Idempotency keys can have up to %d characters.", keyLengthMax)}
	}
	s.mu.Lock()
	if old := s.stored[key]; old != nil && s.cfg.Now().Sub(old.at) < keyKept {
		defer s.mu.Unlock()
		switch {
		case old.fingerprint != fingerprint:
			return result{err: refuse(http.StatusBadRequest, "idempotency_error", "", "",
				"Keys for idempotent requests can only be used with the same parameters they were first used with.")}
		case old.busy:
			// The first one is still under way (/error-low-level).
			return result{err: refuse(http.StatusConflict, "idempotency_error", "idempotency_key_in_use", "",
				"There is currently another in-progress request using this Idempotent Key.")}
		}
		replay := old.result
		replay.replayed = true
		return replay
	}
	entry := &stored{fingerprint: fingerprint, at: s.cfg.Now(), busy: true}
	s.stored[key] = entry
	s.mu.Unlock()

	res := run()

	s.mu.Lock()
	defer s.mu.Unlock()
	entry.busy, entry.result = false, res
	return res
}
