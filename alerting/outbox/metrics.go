package outbox

import (
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics count deliveries. No tenant and no channel is a label: there are thousands.
type Metrics struct {
	seconds  prometheus.Histogram
	outcomes *prometheus.CounterVec
	watched  atomic.Pointer[store]
}

// NewMetrics makes the metrics and registers them, unless reg is nil.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	m := &Metrics{
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "panda_alert_delivery_seconds",
			Help:    "Time from the acknowledgement of an event to the moment at which a receiver had taken the message about it; without what waited on purpose.",
			Buckets: prometheus.ExponentialBuckets(0.01, 2, 18),
		}),
		outcomes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "panda_alert_deliveries_total", Help: "Messages about alerts by type of channel and outcome: sent, failed (to be tried again), dead or muted.",
		}, []string{"type", "outcome"}),
	}
	if reg == nil {
		return m
	}
	state := func(name, help string, is func(*Delivery) bool) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 {
			if s := m.watched.Load(); s != nil {
				return float64(len(s.pick(is)))
			}
			return 0
		})
	}
	reg.MustRegister(m.seconds, m.outcomes,
		state("panda_alert_deliveries_pending", "Messages about alerts that are to be sent, now or again.", func(d *Delivery) bool { return d.State == Pending }),
		state("panda_alert_deliveries_waiting", "Messages about alerts that wait for the end of quiet hours or for a digest.", func(d *Delivery) bool { return d.State == Waiting }),
		state("panda_alert_deliveries_dead", "Messages about alerts that were given up and not sent again.", func(d *Delivery) bool { return d.State == Dead }))
	return m
}

func (m *Metrics) count(d *Delivery, outcome string) {
	m.outcomes.WithLabelValues(d.Type, outcome).Inc()
}

// sent notes a message that was taken.
func (m *Metrics) sent(d *Delivery, now time.Time) {
	m.count(d, "sent")
	if !d.AckedAt.IsZero() && d.Attempts == 0 && len(d.Records) == 1 && d.Reason == "" {
		m.seconds.Observe(max(0, now.Sub(d.AckedAt).Seconds()))
	}
}
