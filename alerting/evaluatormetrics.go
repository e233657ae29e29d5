package alerting

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// EvaluatorMetrics count what an Evaluator does. No tenant is a label: there are
// thousands of them.
type EvaluatorMetrics struct {
	decided     *prometheus.CounterVec
	evaluations *prometheus.CounterVec
	seconds     prometheus.Histogram
	watched     atomic.Pointer[Evaluator]
}

// NewEvaluatorMetrics makes the metrics and registers them, unless reg is nil.
func NewEvaluatorMetrics(reg prometheus.Registerer) *EvaluatorMetrics {
	m := &EvaluatorMetrics{
		decided: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "panda_alerts_decided_total", Help: "Records of alerts that this node decided, by kind.",
		}, []string{"kind"}),
		evaluations: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "panda_alerts_evaluations_total", Help: "Looks at a tenant's limits, by outcome.",
		}, []string{"outcome"}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "panda_alerts_acked_to_decided_seconds", Help: "Time from the acknowledgement of an event to the alert it fired.",
			Buckets: prometheus.ExponentialBuckets(0.005, 2, 14),
		}),
	}
	if reg == nil {
		return m
	}
	reg.MustRegister(m.decided, m.evaluations, m.seconds,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "panda_alerts_dirty_tenants", Help: "Tenants that are to be evaluated.",
		}, func() float64 { n, _ := m.state(); return n }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "panda_alerts_evaluation_lag_seconds", Help: "Age of the oldest acknowledged event that no evaluation has counted; 0 where another node decides.",
		}, func() float64 { _, lag := m.state(); return lag }))
	return m
}

// watch makes the gauges those of an evaluator.
func (m *EvaluatorMetrics) watch(e *Evaluator) { m.watched.Store(e) }

func (m *EvaluatorMetrics) state() (tenants, lag float64) {
	e := m.watched.Load()
	if e == nil {
		return 0, 0
	}
	n, oldest := e.dirty.size()
	if e.Leading() && !oldest.IsZero() {
		lag = max(0, e.cfg.Now().Sub(oldest).Seconds())
	}
	return float64(n), lag
}
