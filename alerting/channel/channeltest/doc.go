// Package channeltest is the other end of the channels, for tests: a mail server that
// speaks SMTP with TLS, also as a process of its own, and an HTTP server that keeps what
// it was sent. Its promise is that it keeps everything it acknowledged, in order, and
// fails exactly when it is told to.
//
// When things fail: a receiver that is told to fail answers so and keeps the try apart.
package channeltest
