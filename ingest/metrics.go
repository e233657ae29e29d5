package ingest

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// WriterMetrics counts what the writer does. No tenant is a label: there are
// thousands of them.
type WriterMetrics struct {
	events   *prometheus.CounterVec
	rows     prometheus.Histogram
	seconds  prometheus.Histogram
	lag      prometheus.Gauge
	position prometheus.Gauge
	lookups  prometheus.Counter
	late     prometheus.Counter
	unpriced prometheus.Counter
	retries  prometheus.Counter
}

// NewWriterMetrics makes the metrics and registers them, unless reg is nil.
func NewWriterMetrics(reg prometheus.Registerer) *WriterMetrics {
	m := &WriterMetrics{
		events: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "panda_writer_events_total", Help: "Events that were given a verdict, by verdict.",
		}, []string{"verdict"}),
		rows: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "panda_writer_batch_rows", Help: "Accepted rows of one commit.",
			Buckets: prometheus.ExponentialBuckets(1, 4, 10),
		}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "panda_writer_commit_seconds", Help: "Time from the start of judging a range to its commit.",
			Buckets: prometheus.ExponentialBuckets(0.002, 2, 14),
		}),
		lag: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "panda_writer_lag_seconds", Help: "Age of the newest committed record when it was committed.",
		}),
		position: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "panda_writer_position", Help: "Log sequence of the newest commit.",
		}),
		lookups: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "panda_writer_key_lookups_total", Help: "Keys the filter called possibly seen, and voids.",
		}),
		late: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "panda_writer_late_events_total", Help: "Accepted events that arrived more than an hour after they happened.",
		}),
		unpriced: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "panda_writer_unpriced_events_total", Help: "Accepted events that no price is known for.",
		}),
		retries: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "panda_writer_retries_total", Help: "Ranges that were begun again because a dependency failed.",
		}),
	}
	if reg != nil {
		reg.MustRegister(m.events, m.rows, m.seconds, m.lag, m.position, m.lookups, m.late, m.unpriced, m.retries)
	}
	return m
}

func (m *WriterMetrics) committed(row *LedgerRow, took, lag time.Duration) {
	m.events.WithLabelValues("accepted").Add(float64(row.Accepted))
	m.events.WithLabelValues("duplicate").Add(float64(row.Duplicates))
	m.events.WithLabelValues("conflict").Add(float64(row.Conflicts))
	m.events.WithLabelValues("quarantined").Add(float64(row.Quarantined))
	m.rows.Observe(float64(row.Accepted))
	m.seconds.Observe(took.Seconds())
	m.lag.Set(lag.Seconds())
	m.position.Set(float64(row.To))
	m.late.Add(float64(row.Late))
	m.unpriced.Add(float64(row.Unpriced))
}
