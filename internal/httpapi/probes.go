package httpapi

import (
	"context"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// check is a named part that must work for the server to be ready.
type check struct {
	name string
	run  func(context.Context) error
}

// checkMax bounds one readiness check; orchestrators give a probe a second or so.
const checkMax = time.Second

// AddCheck adds a part to /readyz. The error's text is shown there, so it must
// not hold secrets or anything about tenants.
func (s *Server) AddCheck(name string, run func(context.Context) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.checks = append(s.checks, check{name, run})
}

func (s *Server) addProbes() {
	s.HandlePublic("GET /livez", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		WriteJSON(w, http.StatusOK, readiness{Status: "ok"})
	}))
	s.HandlePublic("GET /readyz", http.HandlerFunc(s.serveReady))
	s.HandlePublic("GET /metrics", promhttp.HandlerFor(s.cfg.Metrics, promhttp.HandlerOpts{
		Registry: s.cfg.Metrics, MaxRequestsInFlight: 4, Timeout: 10 * time.Second}))
}

type readiness struct {
	Status string        `json:"status"` // ok or unavailable
	Checks []checkResult `json:"checks,omitempty"`
}

type checkResult struct {
	Name   string `json:"name"`
	Status string `json:"status"`
	Detail string `json:"detail,omitempty"`
}

func (s *Server) serveReady(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	checks := s.checks
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(r.Context(), checkMax)
	defer cancel()
	results := make([]checkResult, len(checks))
	var work sync.WaitGroup
	for i, c := range checks {
		work.Go(func() {
			results[i] = checkResult{Name: c.name, Status: "ok"}
			if err := c.run(ctx); err != nil {
				results[i].Status, results[i].Detail = "unavailable", err.Error()
			}
		})
	}
	work.Wait()
	select {
	case <-s.draining:
		results = append(results, checkResult{Name: "serving", Status: "unavailable", Detail: "shutting down"})
	default:
	}
	status, answer := http.StatusOK, readiness{Status: "ok", Checks: results}
	for _, c := range results {
		if c.Status != "ok" {
			status, answer.Status = http.StatusServiceUnavailable, "unavailable"
		}
	}
	WriteJSON(w, status, answer)
}

// metrics are the server's counters. The label route is a pattern of the route
// table, so the number of series is bounded.
type metrics struct {
	inFlight prometheus.Gauge
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
}

func newMetrics(reg *prometheus.Registry) *metrics {
	m := &metrics{
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "panda_http_requests_in_flight", Help: "Requests being served."}),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "panda_http_requests_total", Help: "Requests by route and status."}, []string{"route", "status"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "panda_http_request_seconds", Help: "Time from headers to the end of the answer.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30}}, []string{"route"}),
	}
	reg.MustRegister(m.inFlight, m.requests, m.seconds)
	return m
}

func (m *metrics) observe(route string, status int, took time.Duration) {
	m.requests.WithLabelValues(route, strconv.Itoa(status)).Inc()
	m.seconds.WithLabelValues(route).Observe(took.Seconds())
}
