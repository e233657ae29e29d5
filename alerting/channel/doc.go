// Package channel hands messages about alerts over: by e-mail, as signed webhooks, to
// Slack, PagerDuty and Alertmanager. Its promise is that a message is handed over under
// the same id however often it is tried, that what cannot be delivered is told apart from
// what can be tried again, and that no address a tenant gives leads into the network that
// this program runs in.
//
// Every outgoing connection goes through a [Guard], which looks at the address that a
// name was resolved to, at the moment of the connection: a name that answers with another
// address the second time gains nothing. Redirects are not followed, proxies of the
// environment are not used, an answer is read up to a bound, and everything has a
// timeout.
//
// The formats:
//
//   - mail: RFC 5322 with text and HTML, over SMTP with TLS
//   - webhook: https://www.standardwebhooks.com
//   - slack: incoming webhooks with Block Kit
//   - pagerduty: Events API v2, https://developer.pagerduty.com/docs/events-api-v2-overview
//   - alertmanager: API v2, POST /api/v2/alerts
//
// When things fail: Send returns an [Error]. Permanent ones (an address that is refused,
// a 4xx, a redirect) are not worth a repeat; all others are, no earlier than RetryAfter.
// A Send that was cut off may have been received: its repeat has the same id, by which
// a receiver knows it again.
package channel
