package eventlog

import (
	"fmt"
	"strings"

	"github.com/rs/zerolog"
)

// serverLog passes the server's lines on to the program's logger. The server
// calls Fatalf where a program of its own would exit; here it only reports.
type serverLog struct {
	log zerolog.Logger
	// fatal holds the first fatal line, for whoever waits for the start.
	fatal chan string
	// trouble is told when the store has failed.
	trouble *outage
}

func newServerLog(log zerolog.Logger, trouble *outage) *serverLog {
	return &serverLog{log: log.With().Str("part", "log_server").Logger(), fatal: make(chan string, 1), trouble: trouble}
}

// Noticef is what the server calls its ordinary progress; it is of interest only
// when looking for a fault.
func (l *serverLog) Noticef(format string, v ...any) { l.log.Debug().Msgf(format, v...) }
func (l *serverLog) Debugf(format string, v ...any)  { l.log.Trace().Msgf(format, v...) }
func (l *serverLog) Tracef(format string, v ...any)  { l.log.Trace().Msgf(format, v...) }

func (l *serverLog) Warnf(format string, v ...any) {
	line := fmt.Sprintf(format, v...)
	l.log.Warn().Msg(line)
	l.look(line)
}

// Errorf is also how the server reports a wrong password, at which nobody here
// must act.
func (l *serverLog) Errorf(format string, v ...any) {
	line := fmt.Sprintf(format, v...)
	level := zerolog.ErrorLevel
	if strings.Contains(line, "authentication error") {
		level = zerolog.InfoLevel
	}
	l.log.WithLevel(level).Msg(line)
	l.look(line)
}

func (l *serverLog) look(line string) {
	if why := storeFailure(line); why != "" {
		l.trouble.begin(fmt.Errorf("%w: %s", errStore, why))
	}
}

func (l *serverLog) Fatalf(format string, v ...any) {
	l.log.Error().Msgf(format, v...)
	select {
	case l.fatal <- fmt.Sprintf(format, v...):
	default:
	}
}
