package apiclient

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
)

// New returns a client of the API at an address such as "https://panda.example.com"
// that sends a key with every request. Options come after it; [WithHTTPClient] sets
// time limits and transport, which are net/http's otherwise.
func New(address, key string, options ...ClientOption) (*ClientWithResponses, error) {
	authorize := WithRequestEditorFn(func(_ context.Context, r *http.Request) error {
		r.Header.Set("Authorization", "Bearer "+key)
		return nil
	})
	c, err := NewClientWithResponses(address, append([]ClientOption{authorize}, options...)...)
	if err != nil {
		return nil, fmt.Errorf("make a client of %s: %w", address, err)
	}
	return c, nil
}

// Error is what is wrong and what to do.
func (p *Problem) Error() string {
	if p.Detail != nil {
		return *p.Detail
	}
	return p.Title
}

// Answered returns the answer of success, or the refusal as an error. An answer that is
// neither did not come from Panda but from something in between, and is an error with
// its status.
func Answered[T any](answer *T, refusal *Problem, res *http.Response) (*T, error) {
	switch {
	case answer != nil:
		return answer, nil
	case refusal != nil:
		return nil, refusal
	}
	return nil, fmt.Errorf("%s %s: the server answered %s and not in the way panda does; is the address right?",
		res.Request.Method, res.Request.URL.Path, res.Status)
}

// Quantity is how much of something a tenant may have, 0 and above, or Unlimited.
type Quantity int64

// Unlimited bounds nothing.
const Unlimited Quantity = -1

const unlimited = "unlimited"

// String is the number or "unlimited".
func (q Quantity) String() string {
	if q == Unlimited {
		return unlimited
	}
	return strconv.FormatInt(int64(q), 10)
}

// MarshalJSON writes the number or "unlimited".
func (q Quantity) MarshalJSON() ([]byte, error) {
	if q == Unlimited {
		return json.Marshal(unlimited)
	}
	return strconv.AppendInt(nil, int64(q), 10), nil
}

var errQuantity = errors.New("a quantity is a whole number from 0 on or \"unlimited\"")

// UnmarshalJSON reads what MarshalJSON wrote.
func (q *Quantity) UnmarshalJSON(text []byte) error {
	if string(text) == `"`+unlimited+`"` {
		*q = Unlimited
		return nil
	}
	n, err := strconv.ParseUint(string(text), 10, 64)
	if err != nil || n > math.MaxInt64 {
		return fmt.Errorf("%w, not %.40s", errQuantity, text)
	}
	*q = Quantity(n)
	return nil
}
