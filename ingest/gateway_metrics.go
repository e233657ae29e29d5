package ingest

import (
	"net/http"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/agentik-os/panda/internal/httpapi"
)

// GatewayMetrics counts what comes in. No tenant is a label: there are thousands
// of them.
type GatewayMetrics struct {
	requests *prometheus.CounterVec
	events   *prometheus.CounterVec
	appends  prometheus.Histogram
	bytes    *prometheus.CounterVec
}

// NewGatewayMetrics makes the metrics and registers them, unless reg is nil.
func NewGatewayMetrics(reg prometheus.Registerer) *GatewayMetrics {
	m := &GatewayMetrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "panda_gateway_requests_total", Help: "Requests of the ingest doors, by HTTP status.",
		}, []string{"code"}),
		events: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "panda_gateway_events_total", Help: "Events that were answered, by verdict.",
		}, []string{"verdict"}),
		appends: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "panda_gateway_append_seconds", Help: "Time until a request's events were on disk.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2, 14),
		}),
		bytes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "panda_gateway_body_bytes_total", Help: "Bytes of bodies, as sent and after decompression.",
		}, []string{"form"}),
	}
	if reg != nil {
		reg.MustRegister(m.requests, m.events, m.appends, m.bytes)
	}
	return m
}

// request counts a request that was answered, or is about to be refused.
func (m *GatewayMetrics) request(x *exchange, err error) {
	status := http.StatusOK
	if err != nil {
		status = httpapi.ProblemOf(err).Status
	}
	m.requests.WithLabelValues(strconv.Itoa(status)).Inc()
	m.bytes.WithLabelValues("sent").Add(float64(x.wired))
	m.bytes.WithLabelValues("plain").Add(float64(len(x.body)))
	m.events.WithLabelValues(verdictRejected).Add(float64(x.counts.rejected))
	if err != nil {
		return
	}
	m.events.WithLabelValues(verdictAccepted).Add(float64(x.counts.accepted))
	m.events.WithLabelValues(verdictDuplicate).Add(float64(x.counts.duplicates))
	m.events.WithLabelValues(verdictConflict).Add(float64(x.counts.conflicts))
}
